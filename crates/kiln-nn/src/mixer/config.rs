//! The settings of a mixer.

use super::layers::{Axis, Mixer, MixerBlock, MixerLayer, MixerStage};
use crate::{
    Activation, AttentionConfig, ConfigError, FeedForwardConfig, LinearConfig, NormConfig,
    shape::BackboneShape,
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The narrowest tokens that adaptive patching may leave: levels that would cut finer stay uncut.
const NARROWEST: usize = 4;

/// A mixer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixerConfig {
    /// Layers, at each level where patching is adaptive.
    pub layers: usize,
    /// Levels of adaptive patching; 0 for none.
    pub adaptive_levels: usize,
    /// Hidden features of a mixing layer, as a multiple of what it mixes.
    pub expansion: usize,
    /// The norms.
    pub norm: NormConfig,
    /// Between the two linear layers.
    pub activation: Activation,
    /// Whether what was mixed is weighed by a softmax gate.
    pub gated: bool,
    /// Whether channels are mixed too; that fixes their number.
    pub channel_mixing: bool,
    /// Heads of a self-attention beside the mixing of tokens; 0 for none.
    pub attention_heads: usize,
    /// Whether the tokens of sequences of one token are mixed all the same, as PatchTSMixer does.
    pub mix_single_token: bool,
    /// The share dropped after each linear layer.
    pub dropout: f64,
}

impl Default for MixerConfig {
    fn default() -> Self {
        Self {
            layers: 3,
            adaptive_levels: 0,
            expansion: 2,
            norm: NormConfig::default(),
            activation: Activation::Gelu,
            gated: true,
            channel_mixing: false,
            attention_heads: 0,
            mix_single_token: false,
            dropout: 0.0,
        }
    }
}

impl MixerConfig {
    /// In how many parts each stage cuts the width, in order.
    pub fn cuts(&self, width: usize) -> Vec<usize> {
        if self.adaptive_levels == 0 {
            return vec![1];
        }
        let cut = |level: usize| {
            // Past the width's bits, a shift would overflow: such a level stays uncut.
            let parts = u32::try_from(level).ok().and_then(|level| 1usize.checked_shl(level));
            parts.filter(|parts| width / parts > NARROWEST).unwrap_or(1)
        };
        (0..self.adaptive_levels).rev().map(cut).collect()
    }

    /// Checks the settings for tokens of `shape`.
    ///
    /// # Errors
    /// When a size or dropout is out of range, or the width cannot be cut as the levels ask.
    pub fn validate(&self, shape: BackboneShape) -> Result<(), ConfigError> {
        ConfigError::positive("layers", self.layers)?;
        ConfigError::positive("expansion", self.expansion)?;
        ConfigError::dropout("dropout", self.dropout)?;
        self.norm.validate().map_err(|error| error.within("norm"))?;
        if self.adaptive_levels > 16 {
            return Err(ConfigError::new("adaptive_levels", self.adaptive_levels, "at most 16"));
        }
        for cut in self.cuts(shape.width) {
            if !shape.width.is_multiple_of(cut) {
                let expected =
                    format!("fewer levels: the width {} is not divisible by {cut}", shape.width);
                return Err(ConfigError::new("adaptive_levels", self.adaptive_levels, expected));
            }
            if self.attention_heads > 0 {
                let (width, heads) = (shape.width / cut, self.attention_heads);
                AttentionConfig { dropout: self.dropout, ..AttentionConfig::new(width, heads) }
                    .validate()
                    .map_err(|error| ConfigError { key: "attention_heads".into(), ..error })?;
            }
        }
        Ok(())
    }

    /// A mixer with random weights.
    pub fn init<B: Backend>(&self, shape: BackboneShape, device: &B::Device) -> Mixer<B> {
        let stage = |cut: usize| MixerStage {
            layers: (0..self.layers).map(|_| self.layer(shape, cut, device)).collect(),
            cut,
        };
        Mixer { stages: self.cuts(shape.width).into_iter().map(stage).collect() }
    }

    fn layer<B: Backend>(
        &self,
        shape: BackboneShape,
        cut: usize,
        device: &B::Device,
    ) -> MixerLayer<B> {
        let (width, tokens) = (shape.width / cut, shape.tokens * cut);
        MixerLayer {
            channel: self
                .channel_mixing
                .then(|| self.block(Axis::Channels, shape.channels, width, device)),
            // A single token has nothing to be mixed with.
            token: (tokens > 1 || self.mix_single_token)
                .then(|| self.block(Axis::Tokens, tokens, width, device)),
            feature: self.block(Axis::Features, width, width, device),
        }
    }

    fn block<B: Backend>(
        &self,
        axis: Axis,
        size: usize,
        width: usize,
        device: &B::Device,
    ) -> MixerBlock<B> {
        let heads = if axis == Axis::Tokens { self.attention_heads } else { 0 };
        let attention = (heads > 0).then(|| {
            AttentionConfig { dropout: self.dropout, ..AttentionConfig::new(width, heads) }
                .init(device)
        });
        MixerBlock {
            norm: self.norm.init(width, device),
            mix: FeedForwardConfig {
                width: size,
                hidden: size * self.expansion,
                activation: self.activation,
                dropout: self.dropout,
                output_dropout: self.dropout,
                bias: true,
                gated: false,
            }
            .init(device),
            gate: self.gated.then(|| LinearConfig::new(size, size).init(device)),
            attention_norm: attention.is_some().then(|| self.norm.init(width, device)),
            attention,
            axis,
        }
    }
}
