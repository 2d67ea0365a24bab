//! A transformer, <https://arxiv.org/abs/1706.03762>, with the norm before
//! (<https://arxiv.org/abs/2002.04745>) or after each block, optional attention across the channels
//! of an item, as in PatchTST, <https://arxiv.org/abs/2211.14730>, and, in decoders, attention to
//! another sequence. BERT, GPT-2, Llama, T5 and ModernBERT are settings of it.

mod block;
mod config;
mod inputs;
mod options;
#[cfg(test)]
mod tests;
mod visibility;

pub use block::{CrossAttentionBlock, TransformerBlock};
pub use config::{LocalConfig, TransformerConfig};
pub use inputs::{EveryLayer, LayerInputs};
pub use options::{DecoderCache, ForwardOptions};

use crate::{
    Dropout, Norm, RelativeBias,
    adapt::{Adapt, Place, Prefix, Prompt, Walk, Without},
    precision::{as_type_of, in_type_of},
};
use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionVisibility, MASK_VALUE};
use visibility::{LayerVisibility, document_mask};

/// A transformer: encoder, decoder, or decoder with cross-attention.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Blocks, from the input up.
    pub layers: Vec<TransformerBlock<B>>,
    /// Relative position bias, shared by all blocks.
    pub relative: Option<RelativeBias<B>>,
    /// Inputs of blocks that are weighted means of earlier outputs, where asked for.
    pub inputs: Option<LayerInputs<B>>,
    /// Final norm, after the last block.
    pub norm: Option<Norm<B>>,
    /// Prompt tuning: learned tokens in front of the input, where it is adapted so.
    pub prompt: Option<Prompt<B>>,
    layer_drop: Dropout,
    #[module(skip)]
    config: TransformerConfig,
}

impl<B: Backend> Transformer<B> {
    /// `[batch, tokens, width]` to the same shape; with `causal`, a token attends only to
    /// itself and what came before.
    pub fn forward(&self, tokens: Tokens<B>, causal: bool) -> Tokens<B> {
        self.forward_with(tokens, AttentionVisibility::causal_if(causal).into())
    }

    /// The same for a decoder built by [`TransformerConfig::init_cross_attention`]: each block also attends
    /// to `memory`, `[batch, others, width]`.
    pub fn forward_cross_attention(
        &self,
        tokens: Tokens<B>,
        memory: &Tokens<B>,
        causal: bool,
    ) -> Tokens<B> {
        let visibility = AttentionVisibility::causal_if(causal);
        self.forward_with(tokens, ForwardOptions { memory: Some(memory), ..visibility.into() })
    }

    /// Hidden states of each block, from the input up: `[batch, tokens, width]` each, before the
    /// norm that follows the last.
    pub fn forward_each(&self, tokens: Tokens<B>, causal: bool) -> Vec<Tensor<B, 3>> {
        self.forward_each_with(tokens, AttentionVisibility::causal_if(causal).into())
    }

    /// The same with options.
    pub fn forward_each_with(
        &self,
        tokens: Tokens<B>,
        options: ForwardOptions<'_, B>,
    ) -> Vec<Tensor<B, 3>> {
        let mut each = Vec::with_capacity(self.layers.len());
        self.run(tokens, options, |x| each.push(x.clone()));
        each
    }

    /// `[batch, tokens, width]` to the same shape, with options.
    pub fn forward_with(&self, tokens: Tokens<B>, options: ForwardOptions<'_, B>) -> Tokens<B> {
        self.run(tokens, options, |_| {})
    }

    fn run(
        &self,
        mut tokens: Tokens<B>,
        mut options: ForwardOptions<'_, B>,
        mut watch: impl FnMut(&Tensor<B, 3>),
    ) -> Tokens<B> {
        let mut without = Without::Nothing;
        let mask_pad = tokens.mask_pad.clone();
        if let Some(prompt) = &self.prompt {
            (tokens, without) = prompt.put_before(tokens, &mut options);
        }
        let (config, relative) = (&self.config, self.relative.as_ref());
        let visibility = LayerVisibility::new(config, relative, self.prefix(), &tokens, &options);
        let ForwardOptions { memory, mut cache, .. } = options;
        let weight = self.layers.first().map(|layer| layer.feed_forward.hidden.weight.val());
        let memory = memory.map(|memory| {
            let values = as_type_of(weight.clone(), memory.values.clone());
            memory.clone().with_values(values)
        });
        if let Some(cache) = &mut cache {
            cache.layers.resize_with(self.layers.len(), Default::default);
        }
        let mut x = in_type_of(weight, tokens.values.clone(), |mut x| {
            let device = x.device();
            let mut given = Vec::new();
            for (number, layer) in self.layers.iter().enumerate() {
                if let Some(inputs) = &self.inputs {
                    x = inputs.read(&mut given, x);
                }
                if !self.layer_drop.skips::<B>(&device) {
                    let visibility = visibility.of(config.is_local(number));
                    let cache = cache.as_mut().and_then(|cache| cache.layers.get_mut(number));
                    x = layer.forward(x, visibility, memory.as_ref(), cache, tokens.channels);
                }
                if let Some(inputs) = &self.inputs {
                    x = inputs.give(x);
                }
                watch(&without.strip(x.clone()));
            }
            match &self.inputs {
                Some(inputs) => inputs.read(&mut given, x),
                None => x,
            }
        });
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        Tokens { values: without.strip(x), mask_pad, channels: tokens.channels }
    }

    /// Document mask as an attention bias, `[rows, 1, tokens, tokens]`, where documents begin at the
    /// `offsets`, counted through the rows. With a relative position bias each pair of tokens has a
    /// score of its own in memory, and rows are better read as they are than one after the other.
    /// `None` without one, or where each document has a prompt.
    pub fn document_bias(
        &self,
        offsets: &Tensor<B, 1, Int>,
        rows: [usize; 2],
    ) -> Option<Tensor<B, 4>> {
        let scored = self.relative.is_some() && self.prompt.is_none();
        let mask = scored.then(|| document_mask(offsets, rows));
        mask.map(|mask| mask.float().mul_scalar(MASK_VALUE).unsqueeze_dim(1))
    }

    /// Features of its tokens.
    pub(crate) fn width(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.feed_forward.hidden.weight.dims()[0])
    }

    /// Length of the learned prefix that its blocks attend to.
    fn prefix(&self) -> usize {
        let prefixes = self.layers.iter().filter_map(|layer| layer.attention.prefix.as_ref());
        prefixes.map(Prefix::len).max().unwrap_or(0)
    }
}

impl<B: Backend> Adapt<B> for Transformer<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.show(Place::Transformer(self));
        walk.enter("layers", &mut self.layers);
    }
}
