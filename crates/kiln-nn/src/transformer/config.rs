//! The settings of a transformer.

use super::{CrossAttentionBlock, EveryLayer, LayerInputs, Transformer, TransformerBlock};
use crate::{
    Activation, AttentionBias, AttentionConfig, ConfigError, Dropout, FeedForwardConfig,
    NormConfig, PositionConfig,
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of a transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; they divide the width, unless `head_width` is given.
    pub heads: usize,
    /// Heads of keys and values, each shared by as many heads of queries
    /// (<https://arxiv.org/abs/2305.13245>); as many as `heads` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Features of a head; its share of the width if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_width: Option<usize>,
    /// What attention scores are multiplied by; one over the root of a head's features if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_scale: Option<f64>,
    /// Position encoding within attention; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positions: Option<PositionConfig>,
    /// Sliding-window attention in some blocks; in none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalConfig>,
    /// Features between the two layers of the feed-forward blocks; four times the width if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// In the feed-forward blocks.
    pub activation: Activation,
    /// Whether feed-forward blocks are gated: a third layer is multiplied with what is activated
    /// (<https://arxiv.org/abs/2002.05202>).
    pub gated: bool,
    /// The norms.
    pub norm: NormConfig,
    /// Whether norms come before attention and feed-forward, or after the residual sum.
    pub pre_norm: bool,
    /// Whether the first block has a norm before its attention; none is needed where what enters
    /// is normalised.
    pub first_norm: bool,
    /// Whether a last norm follows the blocks.
    pub final_norm: bool,
    /// Whether the feed-forward reads what attention reads, rather than what it gives: both are added
    /// to the residual stream side by side, as in Falcon, <https://arxiv.org/abs/2311.16867>.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
    /// Whether parallel blocks have one norm for attention and feed-forward, as Falcon-7B's have,
    /// rather than one each, as Falcon-40B's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared_norm: bool,
    /// Whether each block reads a learned mean of what entered and of what all before it gave, in
    /// place of the residual stream, and how: every layer counts,
    /// <https://arxiv.org/abs/2311.02265>.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_layer: Option<EveryLayer>,
    /// Whether channels attend to each other, with the weights of the attention over time.
    pub channel_attention: bool,
    /// Whether the feed-forward layers have biases.
    pub bias: bool,
    /// Which projections of attention have biases.
    pub attention_bias: AttentionBias,
    /// Attention dropout: the share of weights dropped.
    pub attention_dropout: f64,
    /// The share dropped between the feed-forward layers.
    pub hidden_dropout: f64,
    /// The share dropped of what is added to the residual stream.
    pub residual_dropout: f64,
    /// LayerDrop: the share of blocks left out, drawn for each block of each step.
    pub layer_drop: f64,
}

/// Sliding-window attention in most blocks, global attention in some: ModernBERT,
/// <https://arxiv.org/abs/2412.13663>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// Window size: tokens attend to those less than so many places away.
    pub window: usize,
    /// Every so many blocks, from the first, one has global attention.
    pub global_every: usize,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            layers: 3,
            heads: 8,
            kv_heads: None,
            head_width: None,
            attention_scale: None,
            positions: None,
            local: None,
            hidden: None,
            activation: Activation::Gelu,
            gated: false,
            norm: NormConfig::default(),
            pre_norm: true,
            first_norm: true,
            final_norm: false,
            parallel: false,
            shared_norm: false,
            every_layer: None,
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
    pub(super) fn attention(&self, width: usize) -> AttentionConfig {
        AttentionConfig {
            width,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_width: self.head_width,
            scale: self.attention_scale,
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
            gated: self.gated,
        }
    }

    /// Floating-point operations of a pass over so many tokens of `width` features: the matrix
    /// products, a multiplication and an addition each.
    pub fn forward_flops(&self, tokens: f64, width: f64) -> f64 {
        let hidden = self.hidden.map_or(4.0 * width, |hidden| hidden as f64);
        let gathered = self.head_width.map_or(width, |head| (head * self.heads) as f64);
        let shared = self
            .kv_heads
            .map_or(gathered, |heads| gathered * heads as f64 / self.heads.max(1) as f64);
        let projections = 2.0 * tokens * width * (2.0 * gathered + 2.0 * shared);
        let attention = 2.0 * 2.0 * tokens * tokens * gathered;
        let matrices = if self.gated { 3.0 } else { 2.0 };
        let feed_forward = matrices * 2.0 * tokens * width * hidden;
        self.layers as f64 * (projections + attention + feed_forward)
    }

    /// Whether anything is dropped while training.
    pub fn drops(&self) -> bool {
        let shares =
            [self.attention_dropout, self.hidden_dropout, self.residual_dropout, self.layer_drop];
        shares.iter().any(|share| *share > 0.0)
    }

    /// Checks the settings for tokens of `width` features.
    ///
    /// # Errors
    /// When a size, the number of heads or a dropout is out of range.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        ConfigError::positive("layers", self.layers)?;
        self.attention(width).validate()?;
        self.feed_forward(width).validate()?;
        if self.parallel && !self.pre_norm {
            let expected = "false where norms come after the sum (`pre_norm = false`)";
            return Err(ConfigError::new("parallel", true, expected));
        }
        if self.shared_norm && !self.parallel {
            let expected = "false unless attention and feed-forward read the same (`parallel`)";
            return Err(ConfigError::new("shared_norm", true, expected));
        }
        if self.every_layer.is_some() && self.channel_attention {
            let expected = "false where blocks read means (`every_layer`)";
            return Err(ConfigError::new("channel_attention", true, expected));
        }
        ConfigError::dropout("residual_dropout", self.residual_dropout)?;
        ConfigError::dropout("layer_drop", self.layer_drop)?;
        if let Some(local) = &self.local {
            ConfigError::positive("local.window", local.window)?;
            ConfigError::positive("local.global_every", local.global_every)?;
        }
        match &self.positions {
            Some(PositionConfig::Rotary(rotary)) => {
                let width = self.attention(width).head_width();
                if !width.is_multiple_of(2) {
                    let expected = "an even number: rotary positions turn pairs of features";
                    return Err(ConfigError::new("head_width", width, expected));
                }
                rotary.validate().map_err(|error| error.within("positions.rotary"))?;
            }
            Some(PositionConfig::Relative(relative)) => {
                relative.validate().map_err(|error| error.within("positions.relative"))?;
            }
            Some(PositionConfig::Alibi) | None => {}
        }
        self.norm.validate().map_err(|error| error.within("norm"))
    }

    /// Whether attention and feed-forward are those of the first transformers: what families that
    /// know no other can express.
    pub fn is_plain(&self) -> bool {
        let plain = Self {
            kv_heads: None,
            head_width: None,
            attention_scale: None,
            positions: None,
            local: None,
            gated: false,
            first_norm: true,
            parallel: false,
            shared_norm: false,
            every_layer: None,
            ..self.clone()
        };
        *self == plain
    }

    /// Whether a block has a sliding window.
    pub(super) fn is_local(&self, layer: usize) -> bool {
        self.local.is_some_and(|local| !layer.is_multiple_of(local.global_every))
    }

    /// An encoder with random weights, or a decoder of one sequence.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> Transformer<B> {
        self.build(width, false, device)
    }

    /// A decoder with random weights whose blocks attend to another sequence of the same width,
    /// too: for [`Transformer::forward_cross_attention`].
    pub fn init_cross_attention<B: Backend>(
        &self,
        width: usize,
        device: &B::Device,
    ) -> Transformer<B> {
        self.build(width, true, device)
    }

    fn build<B: Backend>(
        &self,
        width: usize,
        cross_attention: bool,
        device: &B::Device,
    ) -> Transformer<B> {
        let norm = || self.norm.init(width, device);
        let block = |layer| TransformerBlock {
            attention: self.attention(width).init(device),
            attention_norm: (layer > 0 || self.first_norm || !self.pre_norm).then(norm),
            cross_attention: cross_attention.then(|| CrossAttentionBlock {
                attention: self.attention(width).init(device),
                norm: norm(),
            }),
            channel_norm: self.channel_attention.then(norm),
            feed_forward: self.feed_forward(width).init(device),
            feed_forward_norm: (!self.shared_norm).then(norm),
            dropout: Dropout::new(self.residual_dropout),
            pre_norm: self.pre_norm,
            parallel: self.parallel,
            every_layer: self.every_layer,
        };
        let relative = match &self.positions {
            Some(PositionConfig::Relative(relative)) => Some(relative.init(self.heads, device)),
            _ => None,
        };
        Transformer {
            layers: (0..self.layers).map(block).collect(),
            relative,
            inputs: self.every_layer.map(|kind| LayerInputs::new(kind, self.layers, device)),
            norm: self.final_norm.then(norm),
            prompt: None,
            layer_drop: Dropout::new(self.layer_drop),
            config: self.clone(),
        }
    }
}
