//! A transformer encoder, <https://arxiv.org/abs/1706.03762>, with the norm before
//! (<https://arxiv.org/abs/2002.04745>) or after each block, and optional attention across the
//! channels of an item, as in PatchTST, <https://arxiv.org/abs/2211.14730>.

use crate::{
    Activation, Attention, AttentionConfig, ConfigError, Dropout, FeedForward, FeedForwardConfig,
    Norm, NormConfig, Sees, precision::in_type_of,
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transformer encoder.
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
    /// The share of attention weights dropped.
    pub attention_dropout: f64,
    /// The share dropped between the feed-forward layers.
    pub hidden_dropout: f64,
    /// The share dropped of what is added to the residual stream.
    pub residual_dropout: f64,
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
            attention_dropout: 0.0,
            hidden_dropout: 0.0,
            residual_dropout: 0.0,
        }
    }
}

impl TransformerConfig {
    fn attention(&self, width: usize) -> AttentionConfig {
        AttentionConfig { width, heads: self.heads, dropout: self.attention_dropout }
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
        self.norm.validate().map_err(|error| error.within("norm"))
    }

    /// An encoder with random weights.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> Transformer<B> {
        let norm = || self.norm.init(width, device);
        let block = |_| TransformerBlock {
            attention: self.attention(width).init(device),
            attention_norm: norm(),
            channel_norm: self.channel_attention.then(norm),
            feed_forward: self.feed_forward(width).init(device),
            feed_forward_norm: norm(),
            dropout: Dropout::new(self.residual_dropout),
            pre_norm: self.pre_norm,
        };
        Transformer {
            layers: (0..self.layers).map(block).collect(),
            norm: self.final_norm.then(norm),
        }
    }
}

/// A transformer encoder.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Blocks, from the input up.
    pub layers: Vec<TransformerBlock<B>>,
    /// After the last block.
    pub norm: Option<Norm<B>>,
}

impl<B: Backend> Transformer<B> {
    /// `[batch, tokens, width]` to the same shape; with `causal`, a token sees only itself and
    /// what came before.
    pub fn forward(&self, tokens: Tokens<B>, causal: bool) -> Tokens<B> {
        let sees = Sees { mask_pad: tokens.mask_pad.clone(), causal };
        let weight = self.layers.first().map(|layer| layer.feed_forward.hidden.weight.val());
        let blocks =
            |x| self.layers.iter().fold(x, |x, layer| layer.forward(x, &sees, tokens.channels));
        let mut x = in_type_of(weight, tokens.values.clone(), blocks);
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
    /// Before or after the attention over channels.
    pub channel_norm: Option<Norm<B>>,
    /// Over features.
    pub feed_forward: FeedForward<B>,
    /// Before or after the feed-forward.
    pub feed_forward_norm: Norm<B>,
    dropout: Dropout,
    pre_norm: bool,
}

impl<B: Backend> TransformerBlock<B> {
    /// `[batch, tokens, width]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>, sees: &Sees<B>, channels: usize) -> Tensor<B, 3> {
        let x = self.attend(x, &self.attention_norm, sees);
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
    fn mistakes_name_the_key() {
        let config = TransformerConfig { heads: 3, ..Default::default() };
        assert_eq!(config.validate(8).unwrap_err().key, "heads");
        let config = TransformerConfig { layers: 0, ..Default::default() };
        assert_eq!(config.validate(8).unwrap_err().key, "layers");
    }
}
