//! The loss of language models.

use burn::tensor::{Int, Tensor, activation::log_softmax};
use kiln_core::Backend;
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
    let mut logits = embedding.logits(x);
    if let Some(bias) = bias {
        logits = logits + bias.unsqueeze();
    }
    log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean().neg()
}
