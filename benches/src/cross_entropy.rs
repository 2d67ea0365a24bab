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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn_flex::Flex;
    use kiln_nn::EmbeddingConfig;

    #[test]
    fn by_hand() {
        let device = Default::default();
        let mut embedding = EmbeddingConfig::new(2, 1).init::<Flex>(&device);
        embedding.weight = Param::from_data([[1.0], [0.0]], &device);
        let x = Tensor::from_floats([[0.0], [3.0]], &device);
        let bias = Some(Tensor::from_floats([0.0, 3.0], &device));
        let labels = Tensor::from_ints([0, 1], &device);
        // Logits (0, 3) and (3, 3): ln(1 + e³) and ln 2.
        let loss: f32 = tied_cross_entropy(x, &embedding, bias, labels).into_scalar();
        let expected = ((1.0 + 3.0_f32.exp()).ln() + 2.0_f32.ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss}");
    }
}
