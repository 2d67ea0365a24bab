use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference, extreme_scores_stay_finite);

fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(8);
    for shape in [[1, 1, 1], [3, 5, 7], [20, 8, 33], [2, 1, 16], [2, 16, 1]] {
        for tokens in [false, true] {
            let kernel = SoftmaxGate { tokens };
            let floats = [numbers.floats(shape), numbers.floats(shape)];
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

fn extreme_scores_stay_finite<B: Backend>() {
    let x = TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0], [1, 2, 2]);
    let scores = TensorData::new(vec![1e4f32, -1e4, 0.0, 90.0], [1, 2, 2]);
    for tokens in [false, true] {
        let floats = [x.clone(), scores.clone()];
        gradients_agree::<B, _>(Check::F32, &SoftmaxGate { tokens }, &floats, &[]);
    }
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(9);
    let floats = [numbers.floats([3, 4, 5]), numbers.floats([3, 4, 5])];
    gradients_agree::<Flex, _>(Check::BF16, &SoftmaxGate { tokens: true }, &floats, &[]);
}

#[test]
fn equal_scores_share_equally() {
    let device = Default::default();
    let x = Tensor::<Flex, 3>::from_floats([[[2.0, 4.0], [6.0, 8.0]]], &device);
    let out = softmax_gate(x.clone(), x.zeros_like(), 1).into_data().to_vec::<f32>().unwrap();
    assert_eq!(out, [1.0, 2.0, 3.0, 4.0]);
}
