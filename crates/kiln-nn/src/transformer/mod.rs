//! A transformer, <https://arxiv.org/abs/1706.03762>, with the norm before
//! (<https://arxiv.org/abs/2002.04745>) or after each block, optional attention across the channels
//! of an item, as in PatchTST, <https://arxiv.org/abs/2211.14730>, and, in decoders, attention to
//! another sequence. BERT, GPT-2, Llama, T5 and ModernBERT are settings of it.

mod block;
mod config;
mod inputs;
mod pass;
#[cfg(test)]
mod tests;

pub use block::{AcrossBlock, TransformerBlock};
pub use config::{LocalConfig, TransformerConfig};
pub use inputs::{EveryLayer, LayerInputs};
pub use pass::{Cache, Pass};

use crate::{
    Dropout, Norm, RelativeBias,
    adapt::{Adapt, Place, Prefix, Prompt, Walk, Without},
    precision::{as_type_of, in_type_of},
    sees::{UNSEEN, elsewhere},
};
use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use pass::Views;

/// A transformer.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Blocks, from the input up.
    pub layers: Vec<TransformerBlock<B>>,
    /// What distances add to the scores of all blocks.
    pub relative: Option<RelativeBias<B>>,
    /// What blocks read, where that is not just what the last one gave.
    pub inputs: Option<LayerInputs<B>>,
    /// After the last block.
    pub norm: Option<Norm<B>>,
    /// Tokens in front of those that enter, where it is adapted so.
    pub prompt: Option<Prompt<B>>,
    layer_drop: Dropout,
    #[module(skip)]
    config: TransformerConfig,
}

impl<B: Backend> Transformer<B> {
    /// `[batch, tokens, width]` to the same shape; with `causal`, a token sees only itself and
    /// what came before.
    pub fn forward(&self, tokens: Tokens<B>, causal: bool) -> Tokens<B> {
        self.pass(tokens, Pass { causal, ..Pass::default() })
    }

    /// The same for a decoder built by [`TransformerConfig::init_across`]: each block also attends
    /// to `memory`, `[batch, others, width]`.
    pub fn forward_across(&self, tokens: Tokens<B>, memory: &Tokens<B>, causal: bool) -> Tokens<B> {
        self.pass(tokens, Pass { causal, memory: Some(memory), ..Pass::default() })
    }

    /// What comes out of each block, from the input up: `[batch, tokens, width]` each, before the
    /// norm that follows the last.
    pub fn forward_each(&self, tokens: Tokens<B>, causal: bool) -> Vec<Tensor<B, 3>> {
        self.pass_each(tokens, Pass { causal, ..Pass::default() })
    }

    /// The same, looking at whatever the pass brings.
    pub fn pass_each(&self, tokens: Tokens<B>, pass: Pass<'_, B>) -> Vec<Tensor<B, 3>> {
        let mut each = Vec::with_capacity(self.layers.len());
        self.run(tokens, pass, |x| each.push(x.clone()));
        each
    }

    /// `[batch, tokens, width]` to the same shape, looking at whatever the pass brings.
    pub fn pass(&self, tokens: Tokens<B>, pass: Pass<'_, B>) -> Tokens<B> {
        self.run(tokens, pass, |_| {})
    }

    fn run(
        &self,
        mut tokens: Tokens<B>,
        mut pass: Pass<'_, B>,
        mut watch: impl FnMut(&Tensor<B, 3>),
    ) -> Tokens<B> {
        let mut without = Without::Nothing;
        let mask_pad = tokens.mask_pad.clone();
        if let Some(prompt) = &self.prompt {
            (tokens, without) = prompt.put_before(tokens, &mut pass);
        }
        let views = Views::new(self, &tokens, &pass);
        let Pass { memory, mut cache, .. } = pass;
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
                    let sees = views.of(self.config.is_local(number));
                    let seen = cache.as_mut().and_then(|cache| cache.layers.get_mut(number));
                    x = layer.forward(x, sees, memory.as_ref(), seen, tokens.channels);
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

    /// What hides the documents of each row from each other, `[rows, 1, tokens, tokens]`, where they
    /// begin at the `offsets`, counted through the rows: where each pair of tokens has a score of its
    /// own, rows are better read as they are than one after the other. `None` where there are no such
    /// scores, or each document has a prompt.
    pub fn apart(&self, offsets: &Tensor<B, 1, Int>, rows: [usize; 2]) -> Option<Tensor<B, 4>> {
        let scored = self.relative.is_some() && self.prompt.is_none();
        let others = scored.then(|| elsewhere(offsets, rows));
        others.map(|others| others.float().mul_scalar(UNSEEN).unsqueeze_dim(1))
    }

    /// Features of its tokens.
    pub(crate) fn width(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.feed_forward.hidden.weight.dims()[0])
    }

    /// How many tokens of prefix its blocks see.
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
