//! In plain tensor operations, all logits at once.

use super::{
    super::reference::{logits_gradient, losses},
    Linear, LinearBackward,
};
use crate::{
    Tensors,
    plain::{integers, primitive, tensor, to_f32},
};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// The weight as `[width, classes]`.
fn upright<B: Backend>(kernel: &Linear, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    if kernel.transposed { weight.transpose() } else { weight }
}

pub(super) fn forward<B: Backend>(kernel: &Linear, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let (shapes, ints) = inputs.shapes();
    let targets = integers::<B, 1>(inputs.ints[0].clone());
    let mut floats = inputs.floats.into_iter();
    let (Some(hidden), Some(weight)) = (floats.next(), floats.next()) else { return Vec::new() };
    let weight = upright(kernel, to_f32(tensor(weight)));
    let mut logits = to_f32(tensor::<B, 2>(hidden)).matmul(weight);
    if let Some(bias) = floats.next() {
        logits = logits + to_f32(tensor::<B, 1>(bias)).unsqueeze_dim(0);
    }
    let kept = kernel.keeps(&shapes, &ints).then(|| primitive(logits.clone()));
    let found = losses(&kernel.options, logits, targets).map(|out| primitive(out));
    found.into_iter().chain(kept).collect()
}

pub(super) fn backward<B: Backend>(
    kernel: &LinearBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let (shapes, ints) = inputs.shapes();
    let targets = integers::<B, 1>(inputs.ints[0].clone());
    let mut floats = inputs.floats;
    let gradient = floats.pop();
    let kept = if kernel.forward.keeps(&shapes, &ints) { floats.pop() } else { None };
    let (Some(gradient), Some(log_sum_exp)) = (gradient, floats.pop()) else { return Vec::new() };
    let mut floats = floats.into_iter();
    let (Some(hidden), Some(weight)) = (floats.next(), floats.next()) else { return Vec::new() };
    let hidden = tensor::<B, 2>(hidden);
    let dtype = hidden.dtype();
    let hidden = to_f32(hidden);
    let weight = upright(&kernel.forward, to_f32(tensor(weight)));
    let logits = kept.map(tensor::<B, 2>).unwrap_or_else(|| {
        let logits = hidden.clone().matmul(weight.clone());
        match floats.next() {
            Some(bias) => logits + to_f32(tensor::<B, 1>(bias)).unsqueeze_dim(0),
            None => logits,
        }
    });
    let options = &kernel.forward.options;
    let along = logits_gradient(options, logits, targets, tensor(log_sum_exp), tensor(gradient));
    let [for_hidden, for_weight, for_bias] = kernel.needed;
    let mut out = Vec::new();
    if for_hidden {
        out.push(primitive(along.clone().matmul(weight.transpose()).cast(dtype)));
    }
    if for_weight {
        let found = upright(&kernel.forward, hidden.transpose().matmul(along.clone()));
        out.push(primitive(found.cast(dtype)));
    }
    if for_bias {
        out.push(primitive(along.sum_dim(0).squeeze_dim::<1>(0).cast(dtype)));
    }
    out
}
