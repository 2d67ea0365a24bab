use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree, outputs_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(
    gathered_agrees_with_the_reference,
    scattered_agrees_with_the_reference,
    embeddings_take_rows,
);

/// `kept` different numbers below `end` for each of a batch, in random order.
fn without_repetition(numbers: &mut Numbers, batch: usize, kept: usize, end: usize) -> TensorData {
    let mut found: Vec<i64> = Vec::new();
    for _ in 0..batch {
        let mut all: Vec<i64> = (0..end as i64).collect();
        for place in 0..kept {
            let other = place + numbers.below(end - place);
            all.swap(place, other);
        }
        found.extend(&all[..kept]);
    }
    TensorData::new(found, [batch, kept])
}

fn gathered_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (batch, tokens, kept, width) in
        [(1, 1, 1, 1), (3, 7, 4, 33), (2, 5, 9, 130), (1, 3, 70, 2), (4, 40, 10, 48)]
    {
        let x = numbers.floats([batch, tokens, width]);
        // With and without repetition: both occur.
        let indices = numbers.ids([batch, kept], tokens);
        let kernel = Gather { rows: tokens };
        outputs_agree::<B, _>(
            Check::F32,
            &kernel,
            std::slice::from_ref(&x),
            std::slice::from_ref(&indices),
        );
        gradients_agree::<B, _>(Check::F32, &kernel, &[x], &[indices]);
    }
}

fn scattered_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(2);
    for (batch, tokens, kept, width) in
        [(1, 1, 1, 1), (3, 7, 4, 33), (2, 5, 5, 130), (1, 130, 3, 2), (4, 40, 10, 48)]
    {
        let floats = [numbers.floats([batch, kept, width]), numbers.floats([width])];
        let kernel = Scatter { rows: tokens, fill: true };
        for indices in [
            without_repetition(&mut numbers, batch, kept, tokens),
            numbers.ids([batch, kept], tokens),
        ] {
            agrees::<B, _>(&kernel, &floats, &[indices]);
        }
    }
}

fn embeddings_take_rows<B: Backend>() {
    type A<B> = Autodiff<B>;
    let device = Default::default();
    let table = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]];
    let table = Tensor::<A<B>, 2>::from_floats(table, &device).require_grad();
    let ids = Tensor::<A<B>, 2, Int>::from_ints([[2, 0, 2], [1, 2, 0]], &device);
    let out = embedding(table.clone(), ids);
    assert_eq!(out.dims(), [2, 3, 2]);
    let read = |data: TensorData| data.to_vec::<f32>().unwrap();
    let expected = [5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0];
    assert_eq!(read(out.to_data()), expected);
    let gradients = (out.clone() * out).sum().backward();
    // Twice the value for each time that it was taken.
    let found = table.grad(&gradients).map(|found| read(found.into_data()));
    assert_eq!(found.unwrap_or_default(), [4.0, 8.0, 6.0, 8.0, 30.0, 36.0, 0.0, 0.0]);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(3);
    let floats = [numbers.floats([2, 4, 40]), numbers.floats([40])];
    let indices = numbers.ids([2, 4], 6);
    let kernel = Scatter { rows: 6, fill: true };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[indices]);
}

/// Rows and sums are divided among threads.
#[test]
fn many_rows() {
    let mut numbers = Numbers::new(4);
    let x = [numbers.floats([1, 700, 48])];
    // Most picks are of the first rows.
    let indices: Vec<i64> =
        (0..2000).map(|_| (numbers.below(700) * numbers.below(700) / 700) as i64).collect();
    let indices = TensorData::new(indices, [1, 2000]);
    gradients_agree::<Flex, _>(Check::F32, &Gather { rows: 700 }, &x, &[indices]);
    let floats = [numbers.floats([3, 200, 48]), numbers.floats([48])];
    let indices = numbers.ids([3, 200], 600);
    let kernel = Scatter { rows: 600, fill: true };
    gradients_agree::<Flex, _>(Check::F32, &kernel, &floats, &[indices]);
}

/// What masked autoencoding does: tokens that are kept come back to their places.
#[test]
fn there_and_back() {
    let device = Default::default();
    let x = Tensor::<Flex, 3>::from_floats([[[1.0], [2.0], [3.0], [4.0]]], &device);
    let indices = Tensor::<Flex, 2, Int>::from_ints([[3, 0]], &device);
    let kept = gather_tokens(x, indices.clone());
    assert_eq!(kept.to_data().to_vec::<f32>().unwrap(), [4.0, 1.0]);
    let fill = Tensor::<Flex, 1>::from_floats([-1.0], &device);
    let out = scatter_tokens(kept, indices, fill, 4);
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [1.0, -1.0, -1.0, 4.0]);
}

#[test]
#[should_panic(expected = "index 4 in 4 rows")]
fn indices_must_be_of_tokens() {
    let device = Default::default();
    let indices = Tensor::<Flex, 2, Int>::from_ints([[4]], &device);
    gather_tokens(Tensor::<Flex, 3>::zeros([1, 4, 2], &device), indices);
}
