//! Texts through stacks of transformer blocks.

use crate::{batch::Text, embedding::TextEmbedding};
use burn::tensor::Tensor;
use kiln_core::{Backend, Tokens};
use kiln_nn::{AttentionVisibility, DecoderCache, ForwardOptions, Transformer};

/// Hidden states of a decoder with cross-attention, `[batch, tokens, width]`: `text` holds the target
/// tokens that the KV `cache` does not, `memory` the encoder's hidden states.
pub fn decoder_states<B: Backend>(
    decoder: &Transformer<B>,
    embedding: &TextEmbedding<B>,
    text: &Text<B>,
    memory: &Tokens<B>,
    cache: Option<&mut DecoderCache<B>>,
) -> Tokens<B> {
    let before = cache.as_ref().map_or(0, |cache| cache.len());
    let positions = text.positions.clone();
    let visibility = AttentionVisibility::causal();
    let options = ForwardOptions { memory: Some(memory), cache, positions, ..visibility.into() };
    through(decoder, embedding.forward(text, before), text, options)
}

/// Hidden states after a stack of blocks.
pub(crate) fn through<B: Backend>(
    stack: &Transformer<B>,
    values: Tensor<B, 3>,
    text: &Text<B>,
    options: ForwardOptions<'_, B>,
) -> Tokens<B> {
    let shape = values.dims();
    let (row, options) = in_a_row(stack, values, text, options);
    let values = stack.forward_with(row, options).values.reshape(shape);
    Tokens { values, mask_pad: text.mask_pad.clone(), channels: 1 }
}

/// The input of a stack: packed documents are one long sequence with offsets, or masked from each
/// other by a bias.
pub(crate) fn in_a_row<'p, B: Backend>(
    stack: &Transformer<B>,
    values: Tensor<B, 3>,
    text: &Text<B>,
    mut options: ForwardOptions<'p, B>,
) -> (Tokens<B>, ForwardOptions<'p, B>) {
    let tokens = Tokens { values, mask_pad: text.mask_pad.clone(), channels: 1 };
    let Some(documents) = &text.documents else { return (tokens, options) };
    let [batch, count, width] = tokens.dims();
    if let Some(bias) = stack.document_bias(documents, [batch, count]) {
        options.visibility = options.visibility.add_bias(bias);
        return (tokens, options);
    }
    let row = batch * count;
    let mut visibility = options.visibility.with_documents(documents.clone());
    // From lengths a row to lengths a document.
    visibility.pattern = visibility.pattern.map(|lengths| {
        let starts = documents.clone().narrow(0, 0, documents.dims()[0] - 1);
        let rows = starts.clone().div_scalar(count as i64);
        lengths.select(0, rows) - starts.remainder_scalar(count as i64)
    });
    options.visibility = visibility;
    options.positions = options.positions.map(|mut positions| {
        positions.ids = positions.ids.reshape([1, row]);
        positions
    });
    let long = Tokens {
        values: tokens.values.reshape([1, row, width]),
        mask_pad: tokens.mask_pad.map(|pad| pad.reshape([1, row])),
        channels: 1,
    };
    (long, options)
}
