//! What generation needs of a model.

use crate::batch::Text;
use burn::tensor::Tensor;
use kiln_core::{Backend, Tokens};
use kiln_nn::DecoderCache;

/// A decoder: gives the logits of the next token, by itself or with cross-attention to an encoder's
/// hidden states.
pub trait Decoder<B: Backend> {
    /// Size of the vocabulary.
    fn vocabulary(&self) -> usize;

    /// The position id of the first token.
    fn first_position(&self) -> usize {
        0
    }

    /// The longest sequence that there are positions for; `None` where there is no such limit.
    fn max_length(&self) -> Option<usize>;

    /// The id that ends a sequence.
    fn eos(&self) -> Option<u32>;

    /// Logits of the token after the last, `[batch, 1, vocabulary]`; `None` without a language-model
    /// head.
    ///
    /// `text` holds the tokens that the `cache` does not; its padding mask covers those in the
    /// cache, too. `memory` is the encoder's hidden states, `[batch, source tokens, width]`.
    fn next_logits(
        &self,
        text: &Text<B>,
        memory: Option<&Tokens<B>>,
        cache: Option<&mut DecoderCache<B>>,
    ) -> Option<Tensor<B, 3>>;
}
