use super::*;
use crate::testing::{Check, Numbers, outputs_agree};
use burn::backend::Autodiff;
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference, turning_back_is_the_inverse);

/// Angles of a table as floats of a test.
fn table(positions: usize, rotated: usize) -> TensorData {
    let frequencies = rotary_frequencies(rotated, 100.0);
    rotary_table::<Flex>(0..positions, &frequencies, &Default::default()).into_data()
}

/// Forward, and turning back as the backward step does.
fn both_ways_agree<B: Backend>(kernel: &Rotary, floats: [TensorData; 2], ints: &[TensorData]) {
    outputs_agree::<B, _>(Check::F32, kernel, &floats, ints);
    let inverse = Rotary { inverse: true, ..kernel.clone() };
    outputs_agree::<B, _>(Check::F32, &inverse, &floats, ints);
}

fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (shape, rotated, rotated_heads) in
        [([2, 5, 3, 8], 8, 3), ([1, 1, 1, 2], 2, 1), ([2, 7, 4, 10], 6, 3), ([1, 9, 2, 66], 66, 1)]
    {
        let positions = 11;
        for pairing in [Pairing::Interleaved, Pairing::HalfSplit] {
            let kernel = Rotary { pairing, heads: rotated_heads, inverse: false };
            let floats = [numbers.floats(shape), table(positions, rotated)];
            both_ways_agree::<B>(&kernel, floats.clone(), &[]);
            let ids = numbers.ids([shape[0], shape[1]], positions);
            both_ways_agree::<B>(&kernel, floats, &[ids]);
        }
    }
}

/// The gradient of a rotation is the rotation back; the table has none.
fn turning_back_is_the_inverse<B: Backend>() {
    type A<B> = Autodiff<B>;
    let device = Default::default();
    let mut numbers = Numbers::new(2);
    let load = |data: TensorData| Tensor::<A<B>, 4>::from_data(data, &device);
    let table = rotary_table::<A<B>>(0..4, &rotary_frequencies(4, 10.0), &device);
    let ids = Tensor::<A<B>, 2, Int>::from_ints([[3, 0, 2, 2], [1, 1, 3, 0]], &device);
    for (pairing, positions) in
        [(Pairing::Interleaved, None), (Pairing::HalfSplit, None), (Pairing::HalfSplit, Some(ids))]
    {
        let x = load(numbers.floats([2, 4, 3, 6])).require_grad();
        let options = RotaryOptions { heads: Some(2), pairing };
        let out = rotary(x.clone(), table.clone(), positions, options);
        // The gradient of half the squared length is the result itself, turned back: x.
        let gradients = (out.square().sum() * 0.5).backward();
        let read = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
        let found = x.grad(&gradients).map(|found| read(found.into_data()));
        let expected = read(x.into_data());
        crate::testing::close("gradient", 1e-5, &found.unwrap_or_default(), &expected);
    }
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(3);
    let kernel = Rotary { pairing: Pairing::HalfSplit, heads: 2, inverse: false };
    let floats = [numbers.floats([2, 5, 3, 8]), table(5, 8)];
    outputs_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[]);
}

#[test]
fn many_tokens() {
    let mut numbers = Numbers::new(4);
    let kernel = Rotary { pairing: Pairing::HalfSplit, heads: 2, inverse: false };
    let floats = [numbers.floats([3, 200, 3, 64]), table(200, 32)];
    both_ways_agree::<Flex>(&kernel, floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    // Position 1 of a table whose only angle is a right one.
    let table = Tensor::<Flex, 3>::from_floats([[[1.0, 0.0]], [[0.0, 1.0]]], &device);
    let x = Tensor::<Flex, 4>::from_floats([[[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]]], &device);
    for pairing in [Pairing::Interleaved, Pairing::HalfSplit] {
        let options = RotaryOptions { pairing, heads: None };
        let out = rotary(x.clone(), table.clone(), None, options);
        let out = out.into_data().to_vec::<f32>().unwrap();
        assert_eq!(out, [1.0, 2.0, 3.0, -2.0, 1.0, 3.0]);
    }
    let table = rotary_table::<Flex>(1..3, &rotary_frequencies(4, 100.0), &device);
    let table = table.into_data().to_vec::<f32>().unwrap();
    // Position 2; frequencies 1 and 1 / 10.
    let expected = [2.0f32.cos(), 2.0f32.sin(), 0.2f32.cos(), 0.2f32.sin()];
    assert!(table[4..].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{table:?}");
}

#[test]
#[should_panic(expected = "3 tokens, but 2 positions in the table")]
fn tables_must_reach() {
    let device = Default::default();
    let table = rotary_table::<Flex>(0..2, &rotary_frequencies(4, 100.0), &device);
    rotary(Tensor::zeros([1, 3, 1, 4], &device), table, None, RotaryOptions::default());
}
