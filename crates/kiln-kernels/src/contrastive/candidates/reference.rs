//! In plain tensor operations.

use super::CandidatesBackward;
use crate::{
    Tensors,
    plain::{log_sum_exp, primitive, tensor, wide},
};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// The products of queries and candidates: `[rows, count]`.
fn products<B: Backend>(queries: Tensor<B, 2>, candidates: Tensor<B, 3>) -> Tensor<B, 2> {
    (candidates * queries.unsqueeze_dim::<3>(1)).sum_dim(2).squeeze_dim(2)
}

pub(super) fn forward<B: Backend>(inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let [queries, candidates, scale] = inputs.take();
    let scale = wide(tensor::<B, 1>(scale)).unsqueeze_dim::<2>(0);
    let products = products(wide(tensor(queries)), wide(tensor(candidates)));
    let similarity = products * scale;
    let losses = log_sum_exp(similarity.clone()) - similarity.narrow(1, 0, 1);
    vec![primitive(losses.squeeze_dim::<1>(1))]
}

pub(super) fn backward<B: Backend>(
    kernel: &CandidatesBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [queries, candidates, scale, gradient] = inputs.take();
    let queries = tensor::<B, 2>(queries);
    let dtype = queries.dtype();
    let (queries, candidates) = (wide(queries), wide(tensor::<B, 3>(candidates)));
    let scale = wide(tensor::<B, 1>(scale)).unsqueeze_dim::<2>(0);
    let gradient = tensor::<B, 1>(gradient).cast(queries.dtype()).unsqueeze_dim::<2>(1);
    let products = products(queries.clone(), candidates.clone());
    let similarity = products.clone() * scale.clone();
    let [_, count] = similarity.dims();
    let softmax = (similarity.clone() - log_sum_exp(similarity)).exp();
    // One less for the first candidate.
    let hit = softmax.clone().narrow(1, 0, 1).sub_scalar(1.0);
    let mut parts = vec![hit];
    if count > 1 {
        parts.push(softmax.narrow(1, 1, count - 1));
    }
    let each = Tensor::cat(parts, 1) * gradient;
    let weights = (each.clone() * scale).unsqueeze_dim::<3>(2);
    let for_queries = (weights.clone() * candidates).sum_dim(1).squeeze_dim::<2>(1);
    let for_candidates = weights * queries.unsqueeze_dim::<3>(1);
    let for_scale = (each * products).sum();
    kernel.choose([
        primitive(for_queries.cast(dtype)),
        primitive(for_candidates.cast(dtype)),
        primitive(for_scale.cast(dtype)),
    ])
}
