//! In plain tensor operations.

use super::SoftBackward;
use crate::{
    Tensors,
    plain::{log_sum_exp, primitive, tensor, wide},
};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

pub(super) fn forward<B: Backend>(inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let [logits, targets] = inputs.take().map(|input| wide(tensor::<B, 2>(input)));
    let level = log_sum_exp(logits.clone());
    let losses = (targets.clone() * (level.clone() - logits)).sum_dim(1).squeeze_dim::<1>(1);
    vec![primitive(losses), primitive(Tensor::cat(vec![level, targets.sum_dim(1)], 1))]
}

pub(super) fn backward<B: Backend>(
    kernel: &SoftBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [logits, targets, statistics, gradient] = inputs.take();
    let logits = tensor::<B, 2>(logits);
    let dtype = logits.dtype();
    let (logits, targets) = (wide(logits), wide(tensor::<B, 2>(targets)));
    let statistics = tensor::<B, 2>(statistics).cast(logits.dtype());
    let [level, mass] = [0, 1].map(|column| statistics.clone().narrow(1, column, 1));
    let gradient = tensor::<B, 1>(gradient).cast(logits.dtype()).unsqueeze_dim::<2>(1);
    let below = logits - level;
    let mut out = Vec::new();
    if kernel.needed[0] {
        let found = (below.clone().exp() * mass - targets) * gradient.clone();
        out.push(primitive(found.cast(dtype)));
    }
    if kernel.needed[1] {
        out.push(primitive((below.neg() * gradient).cast(dtype)));
    }
    out
}
