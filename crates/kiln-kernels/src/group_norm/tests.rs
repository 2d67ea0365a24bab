use super::*;
use crate::testing::{Check, Numbers, gradients_agree, outputs_agree};
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference, shifted_channels_lose_no_digits);

fn floats(numbers: &mut Numbers, shape: [usize; 3]) -> Vec<TensorData> {
    let width = [shape[2]];
    vec![numbers.floats(shape), numbers.floats(width), numbers.floats(width)]
}

/// Odd sizes, one group, a group a channel, one frame, several parts of a sequence.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (shape, groups) in [
        ([1, 1, 2], 1),
        ([2, 5, 7], 7),
        ([2, 7, 9], 3),
        ([1, 33, 48], 1),
        ([3, 131, 20], 5),
        ([2, 700, 33], 33),
    ] {
        for gelu in [false, true] {
            let options = GroupNormOptions { gelu, ..GroupNormOptions::new(groups) };
            let floats = floats(&mut numbers, shape);
            outputs_agree::<B, _>(Check::F32, &GroupNorm { options }, &floats, &[]);
            // Two values that are normalised to plus and minus one have a gradient of rounding.
            if shape[1] > 1 {
                gradients_agree::<B, _>(Check::F32, &GroupNorm { options }, &floats, &[]);
            }
        }
    }
}

/// The variance is taken of centred values, not as a difference of large squares.
fn shifted_channels_lose_no_digits<B: Backend>() {
    let mut numbers = Numbers::new(2);
    let x: Vec<f32> = (0..2 * 300 * 4).map(|_| 1024.0 + numbers.normal() as f32).collect();
    let x = TensorData::new(x, [2, 300, 4]);
    let options = GroupNormOptions::new(4);
    let check = Check { tolerance: 1e-4, ..Check::F32 };
    let floats = [x, numbers.floats([4]), numbers.floats([4])];
    outputs_agree::<B, _>(check, &GroupNorm { options }, &floats, &[]);
}

/// The backward kernel's own reference, with and without the gradient of x.
#[test]
fn only_what_is_needed() {
    let mut numbers = Numbers::new(3);
    for (with_x, gelu) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = GroupNormOptions { gelu, ..GroupNormOptions::new(2) };
        let mut floats = floats(&mut numbers, [2, 11, 6]);
        let statistics = (0..8).map(|index| if index % 2 == 0 { 0.25 } else { 0.75f32 });
        floats.push(TensorData::new(statistics.collect::<Vec<_>>(), [2, 2, 2]));
        floats.push(numbers.floats([2, 11, 6]));
        outputs_agree::<Flex, _>(Check::F32, &GroupNormBackward { options, with_x }, &floats, &[]);
    }
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(4);
    let options = GroupNormOptions { gelu: true, ..GroupNormOptions::new(4) };
    let floats = floats(&mut numbers, [2, 20, 8]);
    gradients_agree::<Flex, _>(Check::BF16, &GroupNorm { options }, &floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    let x = Tensor::<Flex, 3>::from_floats([[[1.0, 2.0], [3.0, 6.0]]], &device);
    let weight = Tensor::<Flex, 1>::from_floats([1.0, 2.0], &device);
    let bias = Tensor::<Flex, 1>::from_floats([0.5, 0.0], &device);
    let options = GroupNormOptions { epsilon: 0.0, ..GroupNormOptions::new(2) };
    let out = group_norm(x.clone(), weight.clone(), bias.clone(), options);
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [-0.5, -2.0, 1.5, 2.0]);
    // One group: mean 3, variance 14 / 4.
    let options = GroupNormOptions { groups: 1, ..options };
    let out = group_norm(x, weight, bias, options).into_data().to_vec::<f32>().unwrap();
    let deviation = 3.5f32.sqrt();
    let expected = [0.5 - 2.0 / deviation, -2.0 / deviation, 0.5, 6.0 / deviation];
    assert!(out.iter().zip(expected).all(|(out, expected)| (out - expected).abs() < 1e-6));
}

#[test]
fn extreme_values_stay_finite() {
    let device = Default::default();
    let constant = Tensor::<Flex, 3>::full([1, 100, 2], 1e18, &device);
    let (weight, bias) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
    let out = group_norm(constant, weight, bias, GroupNormOptions::new(2));
    assert!(out.into_data().to_vec::<f32>().unwrap().iter().all(|value| value.is_finite()));
}

#[test]
#[should_panic(expected = "3 groups do not divide 4 channels")]
fn groups_that_do_not_divide() {
    let device = Default::default();
    let ones = Tensor::<Flex, 1>::ones([4], &device);
    group_norm(
        Tensor::<Flex, 3>::zeros([1, 2, 4], &device),
        ones.clone(),
        ones,
        GroupNormOptions::new(3),
    );
}
