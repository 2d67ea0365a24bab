//! A transformer, <https://arxiv.org/abs/1706.03762>, with the norm before
//! (<https://arxiv.org/abs/2002.04745>) or after each block, optional attention across the channels
//! of an item, as in PatchTST, <https://arxiv.org/abs/2211.14730>, and, in decoders, attention to
//! another sequence.

use crate::{
    Activation, Attention, AttentionBias, AttentionConfig, ConfigError, Dropout, FeedForward,
    FeedForwardConfig, Norm, NormConfig, Sees,
    precision::{as_type_of, in_type_of},
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Blocks.
    pub layers: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Features between the two layers of the feed-forward blocks; four times the width if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// In the feed-forward blocks.
    pub activation: Activation,
    /// The norms.
    pub norm: NormConfig,
    /// Whether norms come before attention and feed-forward, or after the residual sum.
    pub pre_norm: bool,
    /// Whether a last norm follows the blocks.
    pub final_norm: bool,
    /// Whether channels attend to each other, with the weights of the attention over time.
    pub channel_attention: bool,
    /// Whether the feed-forward layers have biases.
    pub bias: bool,
    /// Which projections of attention have biases.
    pub attention_bias: AttentionBias,
    /// The share of attention weights dropped.
    pub attention_dropout: f64,
    /// The share dropped between the feed-forward layers.
    pub hidden_dropout: f64,
    /// The share dropped of what is added to the residual stream.
    pub residual_dropout: f64,
    /// The share of blocks left out, drawn for each block of each step.
    pub layer_drop: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            layers: 3,
            heads: 8,
            hidden: None,
            activation: Activation::Gelu,
            norm: NormConfig::default(),
            pre_norm: true,
            final_norm: false,
            channel_attention: false,
            bias: true,
            attention_bias: AttentionBias::All,
            attention_dropout: 0.0,
            hidden_dropout: 0.0,
            residual_dropout: 0.0,
            layer_drop: 0.0,
        }
    }
}

impl TransformerConfig {
    fn attention(&self, width: usize) -> AttentionConfig {
        AttentionConfig {
            width,
            heads: self.heads,
            dropout: self.attention_dropout,
            bias: self.attention_bias,
        }
    }

    fn feed_forward(&self, width: usize) -> FeedForwardConfig {
        FeedForwardConfig {
            width,
            hidden: self.hidden.unwrap_or(4 * width),
            activation: self.activation,
            dropout: self.hidden_dropout,
            output_dropout: 0.0,
            bias: self.bias,
        }
    }

    /// Floating-point operations of a pass over so many tokens of `width` features: the matrix
    /// products, a multiplication and an addition each.
    pub fn forward_flops(&self, tokens: f64, width: f64) -> f64 {
        let hidden = self.hidden.map_or(4.0 * width, |hidden| hidden as f64);
        let projections = 4.0 * 2.0 * tokens * width * width;
        let attention = 2.0 * 2.0 * tokens * tokens * width;
        let feed_forward = 2.0 * 2.0 * tokens * width * hidden;
        self.layers as f64 * (projections + attention + feed_forward)
    }

    /// Checks the settings for tokens of `width` features.
    ///
    /// # Errors
    /// When a size, the number of heads or a dropout is out of range.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        ConfigError::positive("layers", self.layers)?;
        self.attention(width).validate()?;
        self.feed_forward(width).validate()?;
        ConfigError::dropout("residual_dropout", self.residual_dropout)?;
        ConfigError::dropout("layer_drop", self.layer_drop)?;
        self.norm.validate().map_err(|error| error.within("norm"))
    }

    /// An encoder with random weights, or a decoder of one sequence.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> Transformer<B> {
        self.build(width, false, device)
    }

    /// A decoder with random weights whose blocks attend to another sequence of the same width,
    /// too: for [`Transformer::forward_across`].
    pub fn init_across<B: Backend>(&self, width: usize, device: &B::Device) -> Transformer<B> {
        self.build(width, true, device)
    }

    fn build<B: Backend>(&self, width: usize, across: bool, device: &B::Device) -> Transformer<B> {
        let norm = || self.norm.init(width, device);
        let block = |_| TransformerBlock {
            attention: self.attention(width).init(device),
            attention_norm: norm(),
            across: across.then(|| AcrossBlock {
                attention: self.attention(width).init(device),
                norm: norm(),
            }),
            channel_norm: self.channel_attention.then(norm),
            feed_forward: self.feed_forward(width).init(device),
            feed_forward_norm: norm(),
            dropout: Dropout::new(self.residual_dropout),
            pre_norm: self.pre_norm,
        };
        Transformer {
            layers: (0..self.layers).map(block).collect(),
            norm: self.final_norm.then(norm),
            layer_drop: Dropout::new(self.layer_drop),
        }
    }
}

/// A transformer.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Blocks, from the input up.
    pub layers: Vec<TransformerBlock<B>>,
    /// After the last block.
    pub norm: Option<Norm<B>>,
    layer_drop: Dropout,
}

impl<B: Backend> Transformer<B> {
    /// `[batch, tokens, width]` to the same shape; with `causal`, a token sees only itself and
    /// what came before.
    pub fn forward(&self, tokens: Tokens<B>, causal: bool) -> Tokens<B> {
        self.run(tokens, None, causal, |_| {})
    }

    /// The same for a decoder built by [`TransformerConfig::init_across`]: each block also attends
    /// to `memory`, `[batch, others, width]`.
    pub fn forward_across(&self, tokens: Tokens<B>, memory: &Tokens<B>, causal: bool) -> Tokens<B> {
        self.run(tokens, Some(memory), causal, |_| {})
    }

    /// What comes out of each block, from the input up: `[batch, tokens, width]` each, before the
    /// norm that follows the last.
    pub fn forward_each(&self, tokens: Tokens<B>, causal: bool) -> Vec<Tensor<B, 3>> {
        let mut each = Vec::with_capacity(self.layers.len());
        self.run(tokens, None, causal, |x| each.push(x.clone()));
        each
    }

    fn run(
        &self,
        tokens: Tokens<B>,
        memory: Option<&Tokens<B>>,
        causal: bool,
        mut watch: impl FnMut(&Tensor<B, 3>),
    ) -> Tokens<B> {
        let sees = Sees { mask_pad: tokens.mask_pad.clone(), causal };
        let weight = self.layers.first().map(|layer| layer.feed_forward.hidden.weight.val());
        let memory = memory.map(|memory| {
            let values = as_type_of(weight.clone(), memory.values.clone());
            memory.clone().with_values(values)
        });
        let mut x = in_type_of(weight, tokens.values.clone(), |mut x| {
            let device = x.device();
            for layer in &self.layers {
                if !self.layer_drop.skips::<B>(&device) {
                    x = layer.forward(x, &sees, memory.as_ref(), tokens.channels);
                }
                watch(&x);
            }
            x
        });
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        tokens.with_values(x)
    }
}

/// Attention and feed-forward, each with a residual.
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    /// Over tokens, and over channels where that is asked for.
    pub attention: Attention<B>,
    /// Before or after the attention over tokens.
    pub attention_norm: Norm<B>,
    /// Over the tokens of another sequence, in decoders.
    pub across: Option<AcrossBlock<B>>,
    /// Before or after the attention over channels.
    pub channel_norm: Option<Norm<B>>,
    /// Over features.
    pub feed_forward: FeedForward<B>,
    /// Before or after the feed-forward.
    pub feed_forward_norm: Norm<B>,
    dropout: Dropout,
    pre_norm: bool,
}

/// Cross-attention and its norm.
#[derive(Module, Debug)]
pub struct AcrossBlock<B: Backend> {
    /// Over the tokens of another sequence.
    pub attention: Attention<B>,
    /// Before or after it.
    pub norm: Norm<B>,
}

impl<B: Backend> TransformerBlock<B> {
    /// `[batch, tokens, width]` to the same shape; a decoder's block also attends to `memory`,
    /// `[batch, others, width]`, where it is given.
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        sees: &Sees<B>,
        memory: Option<&Tokens<B>>,
        channels: usize,
    ) -> Tensor<B, 3> {
        let x = self.attend(x, &self.attention_norm, sees);
        let x = match (&self.across, memory) {
            (Some(across), Some(memory)) => self.residual(x, &across.norm, |x, onto| match onto {
                Some(residual) => across.attention.forward_across_onto(x, memory, residual),
                None => across.attention.forward_across(x, memory),
            }),
            _ => x,
        };
        let x = match &self.channel_norm {
            Some(norm) => self.across_channels(x, norm, channels),
            None => x,
        };
        let feed = &self.feed_forward;
        self.residual(x, &self.feed_forward_norm, |x, onto| match onto {
            Some(residual) => feed.forward_onto(x, residual),
            None => feed.forward(x),
        })
    }

    fn attend(&self, x: Tensor<B, 3>, norm: &Norm<B>, sees: &Sees<B>) -> Tensor<B, 3> {
        self.residual(x, norm, |x, onto| match onto {
            Some(residual) => self.attention.forward_onto(x, sees, residual),
            None => self.attention.forward(x, sees),
        })
    }

    /// A block with its norm and residual. `inner` adds its result to the residual itself where it
    /// is given one.
    fn residual(
        &self,
        x: Tensor<B, 3>,
        norm: &Norm<B>,
        inner: impl FnOnce(Tensor<B, 3>, Option<Tensor<B, 3>>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let input = if self.pre_norm { norm.forward(x.clone()) } else { x.clone() };
        let sum = if self.dropout.is_active::<B>(&x.device()) {
            self.dropout.forward_onto(inner(input, None), x)
        } else {
            inner(input, Some(x))
        };
        if self.pre_norm { sum } else { norm.forward(sum) }
    }

    /// Attention over the channels of each token: `[items * channels, tokens, width]` seen as
    /// `[items * tokens, channels, width]`.
    fn across_channels(&self, x: Tensor<B, 3>, norm: &Norm<B>, channels: usize) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let items = batch / channels.max(1);
        // From a rows of b columns an item to b rows of a columns.
        let swap = |x: Tensor<B, 3>, a, b| {
            x.reshape([items, a, b, width]).swap_dims(1, 2).reshape([items * b, a, width])
        };
        let x = swap(x, channels, tokens);
        let x = self.attend(x, norm, &Sees::all());
        swap(x, tokens, channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use burn_flex::Flex;

    fn values(x: Tensor<Flex, 3>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    fn random(shape: [usize; 3]) -> Tensor<Flex, 3> {
        Tensor::random(shape, Distribution::Default, &Default::default())
    }

    #[test]
    fn causal_blocks_do_not_leak() {
        let config =
            TransformerConfig { layers: 2, heads: 2, final_norm: true, ..Default::default() };
        config.validate(8).unwrap();
        let model = config.init::<Flex>(8, &Default::default());
        let x = random([3, 5, 8]);
        let changed = x.clone().slice_fill([0..3, 4..5, 0..8], 3.0);
        let first = |x| values(model.forward(Tokens::new(x), true).values.narrow(1, 0, 4));
        assert_eq!(first(x), first(changed));
    }

    #[test]
    fn channels_see_each_other_only_with_channel_attention() {
        for channel_attention in [false, true] {
            for pre_norm in [false, true] {
                let config = TransformerConfig {
                    layers: 1,
                    heads: 2,
                    channel_attention,
                    pre_norm,
                    ..Default::default()
                };
                let model = config.init::<Flex>(8, &Default::default());
                let x = random([6, 4, 8]);
                // The last channel of the first item.
                let changed = x.clone().slice_fill([2..3, 0..4, 0..8], 3.0);
                let run =
                    |x| model.forward(Tokens { values: x, mask_pad: None, channels: 3 }, false);
                let first = |x| values(run(x).values.narrow(0, 0, 1));
                assert_eq!(first(x.clone()) != first(changed.clone()), channel_attention);
                let other = |x| values(run(x).values.narrow(0, 3, 3));
                assert_eq!(other(x), other(changed), "items never see each other");
            }
        }
    }

    #[test]
    fn decoders_see_their_memory_but_not_its_padding() {
        let config = TransformerConfig { layers: 2, heads: 2, ..Default::default() };
        let decoder = config.init_across::<Flex>(8, &Default::default());
        let x = random([2, 3, 8]);
        let pad = Tensor::from_data([[false, false, true]; 2], &Default::default());
        let run = |values| {
            let memory = Tokens { values, mask_pad: Some(pad.clone()), channels: 1 };
            values_of(decoder.forward_across(Tokens::new(x.clone()), &memory, true))
        };
        let memory = random([2, 3, 8]);
        let plain = run(memory.clone());
        assert_eq!(plain, run(memory.clone().slice_fill([0..2, 2..3, 0..8], 3.0)));
        assert_ne!(plain, run(memory.slice_fill([0..2, 1..2, 0..8], 3.0)));
    }

    fn values_of(tokens: Tokens<Flex>) -> Vec<f32> {
        values(tokens.values)
    }

    #[test]
    fn layers_are_dropped_in_training_only_and_each_is_seen() {
        use burn::backend::Autodiff;
        let config =
            TransformerConfig { layers: 2, heads: 2, layer_drop: 0.5, ..Default::default() };
        config.validate(8).unwrap();
        let model = config.init::<Autodiff<Flex>>(8, &Default::default());
        let x = Tensor::from_inner(random([1, 3, 8]));
        let same = |_: &usize| {
            let each = model.forward_each(Tokens::new(x.clone()), false);
            let same = |x: &Tensor<Autodiff<Flex>, 3>, y: &Tensor<Autodiff<Flex>, 3>| {
                x.clone().into_data() == y.clone().into_data()
            };
            same(&each[0], &x) && same(&each[1], &each[0])
        };
        let unchanged = (0..200).filter(same).count();
        assert!((25..80).contains(&unchanged), "a quarter leaves out both: {unchanged}");
        let still = burn::module::AutodiffModule::valid(&model);
        let x = x.inner();
        let each = still.forward_each(Tokens::new(x.clone()), false);
        assert_ne!(values(each[0].clone()), values(x.clone()));
        assert_eq!(values(each[1].clone()), values_of(still.forward(Tokens::new(x), false)));
    }

    #[test]
    fn mistakes_name_the_key() {
        let config = TransformerConfig { heads: 3, ..Default::default() };
        assert_eq!(config.validate(8).unwrap_err().key, "heads");
        let config = TransformerConfig { layers: 0, ..Default::default() };
        assert_eq!(config.validate(8).unwrap_err().key, "layers");
    }
}
