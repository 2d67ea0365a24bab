//! The loss of language models.

use burn::tensor::{Int, Tensor};
use kiln_core::Backend;
use kiln_kernels::{CrossEntropyOptions, linear_cross_entropy};
use kiln_nn::Embedding;

/// The mean negative log-likelihood of `labels` under logits tied to an embedding.
///
/// # Shapes
/// - x: `[rows, width]`; bias: `[vocabulary]`; labels: `[rows]`
pub(crate) fn tied_cross_entropy<B: Backend>(
    x: Tensor<B, 2>,
    embedding: &Embedding<B>,
    bias: Option<Tensor<B, 1>>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let options = CrossEntropyOptions::default();
    linear_cross_entropy(x, embedding.weight.val(), true, bias, labels, options).mean()
}
