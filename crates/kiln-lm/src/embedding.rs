//! Token, position and segment embeddings.

use crate::{batch::Text, config::EmbeddingConfig};
use burn::{module::Module, tensor::Tensor};
use kiln_core::Backend;
use kiln_nn::{Dropout, Embedding, Norm, NormConfig};

/// Input embedding: vectors of ids, of their positions and of their segments, added up.
#[derive(Module, Debug)]
pub struct TextEmbedding<B: Backend> {
    /// Of ids.
    pub words: Embedding<B>,
    /// Of positions.
    pub positions: Option<Embedding<B>>,
    /// Of segments.
    pub types: Option<Embedding<B>>,
    /// After the sum.
    pub norm: Option<Norm<B>>,
    dropout: Dropout,
}

impl<B: Backend> TextEmbedding<B> {
    /// Random weights; `norm` is of the kind that may follow the sum.
    pub fn new(
        config: &EmbeddingConfig,
        [vocabulary, width]: [usize; 2],
        norm: NormConfig,
        device: &B::Device,
    ) -> Self {
        let some = |count: usize| {
            (count > 0).then(|| kiln_nn::EmbeddingConfig::new(count, width).init(device))
        };
        Self {
            words: kiln_nn::EmbeddingConfig::new(vocabulary, width).init(device),
            positions: some(config.positions),
            types: some(config.types),
            norm: config.norm.then(|| norm.init(width, device)),
            dropout: Dropout::new(config.dropout),
        }
    }

    /// `[batch, tokens]` to `[batch, tokens, width]`; without positions of their own, tokens stand
    /// at their places after the `before` tokens seen.
    pub(crate) fn forward(&self, text: &Text<B>, before: usize) -> Tensor<B, 3> {
        self.forward_vectors(self.words.forward(text.ids.clone()), text, before)
    }

    /// The same with other vectors in the place of those of the ids, `[batch, tokens, width]`.
    pub(crate) fn forward_vectors(
        &self,
        mut x: Tensor<B, 3>,
        text: &Text<B>,
        before: usize,
    ) -> Tensor<B, 3> {
        let [_, tokens] = text.dims();
        if let Some(table) = &self.positions {
            x = x + match &text.positions {
                Some(positions) => table.forward(positions.ids.clone()),
                None => table.weight.val().narrow(0, before, tokens).unsqueeze(),
            };
        }
        if let Some(table) = &self.types {
            x = x + match &text.types {
                Some(types) => table.forward(types.clone()),
                None => table.first(1),
            };
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        self.dropout.forward(x)
    }

    /// What is dropped of tokens.
    pub(crate) fn drop(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.dropout.forward(x)
    }
}
