//! In plain tensor operations.

use super::{SoftmaxGate, SoftmaxGateBackward};
use crate::{
    Tensors,
    plain::{primitive, tensor},
};
use burn::tensor::{activation::softmax, backend::Backend as BurnBackend, ops::FloatTensor};

/// The dimension that the softmax runs along.
fn along(tokens: bool) -> usize {
    if tokens { 1 } else { 2 }
}

pub(super) fn forward<B: BurnBackend>(
    &SoftmaxGate { tokens }: &SoftmaxGate,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, scores] = inputs.take().map(tensor::<B, 3>);
    vec![primitive(x * softmax(scores, along(tokens)))]
}

pub(super) fn backward<B: BurnBackend>(
    &SoftmaxGateBackward { tokens }: &SoftmaxGateBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, scores, gradient] = inputs.take().map(tensor::<B, 3>);
    let weights = softmax(scores, along(tokens));
    let weighted = gradient.clone() * x * weights.clone();
    let level = weighted.clone().sum_dim(along(tokens));
    vec![primitive(gradient * weights.clone()), primitive(weighted - weights * level)]
}
