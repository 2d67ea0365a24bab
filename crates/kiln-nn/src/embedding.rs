//! Vectors for ids, and the way back.

use crate::ConfigError;
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor},
};
use kiln_core::Backend;

/// The sizes of an [`Embedding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingConfig {
    /// Ids.
    pub vocabulary: usize,
    /// Features of a vector.
    pub width: usize,
}

impl EmbeddingConfig {
    /// Of `vocabulary` ids and `width` features.
    pub fn new(vocabulary: usize, width: usize) -> Self {
        Self { vocabulary, width }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("vocabulary", self.vocabulary)?;
        ConfigError::positive("width", self.width)
    }

    /// Normal weights with a deviation of 0.02, as BERT and GPT-2 have them.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Embedding<B> {
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        Embedding { weight: normal.init([self.vocabulary, self.width], device) }
    }
}

/// A vector for each id.
#[derive(Module, Debug)]
pub struct Embedding<B: Backend> {
    /// `[vocabulary, width]`
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    /// `[batch, tokens]` to `[batch, tokens, width]`.
    pub fn forward(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        kiln_kernels::embedding(self.weight.val(), ids)
    }

    /// The vectors of the first `tokens` ids, `[1, tokens, width]`: of positions.
    pub fn first(&self, tokens: usize) -> Tensor<B, 3> {
        self.weight.val().narrow(0, 0, tokens).unsqueeze()
    }

    /// How much each id's vector is that of a row: `[rows, width]` to `[rows, vocabulary]`, with a
    /// bias `[vocabulary]`. What a decoder tied to the embedding
    /// (<https://arxiv.org/abs/1608.05859>) gives.
    pub fn logits(&self, x: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
        kiln_kernels::linear_tied(x, self.weight.val(), bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn there_and_back() {
        let device = Default::default();
        let config = EmbeddingConfig::new(3, 2);
        config.validate().unwrap();
        let mut embedding = config.init::<Flex>(&device);
        embedding.weight = Param::from_data([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], &device);
        let x = embedding.forward(Tensor::from_ints([[2], [1]], &device));
        assert_eq!(x.dims(), [2, 1, 2]);
        let found: Vec<f32> = x.clone().into_data().to_vec().unwrap();
        assert_eq!(found, [3.0, 3.0, 0.0, 2.0]);
        let logits = embedding.logits(x.reshape([2, 2]), None);
        let found: Vec<f32> = logits.into_data().to_vec().unwrap();
        assert_eq!(found, [3.0, 6.0, 18.0, 0.0, 4.0, 6.0]);
        let first: Vec<f32> = embedding.first(1).into_data().to_vec().unwrap();
        assert_eq!(first, [1.0, 0.0]);
        assert!(EmbeddingConfig::new(0, 1).validate().is_err());
    }
}
