//! What stands between frontend and head: one enum over the architectures.

use crate::{
    ConfigError, Mixer, MixerConfig, Transformer, TransformerConfig,
    adapt::{Adapt, Walk},
    shape::BackboneShape,
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The architecture, as recipes name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneConfig {
    /// Attention over tokens; any number of tokens, causal if asked.
    Transformer(TransformerConfig),
    /// Linear layers over tokens and features; a fixed number of tokens, never causal.
    Mixer(MixerConfig),
}

impl BackboneConfig {
    /// The name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transformer(_) => "transformer",
            Self::Mixer(_) => "mixer",
        }
    }

    /// Whether tokens can be kept from seeing those after them.
    pub fn supports_causal(&self) -> bool {
        matches!(self, Self::Transformer(_))
    }

    /// Whether the weights fix how many channels an item has.
    pub fn fixes_channels(&self) -> bool {
        matches!(self, Self::Mixer(mixer) if mixer.channel_mixing)
    }

    /// Whether anything is dropped while training.
    pub fn drops(&self) -> bool {
        match self {
            Self::Transformer(transformer) => transformer.drops(),
            Self::Mixer(mixer) => mixer.dropout > 0.0,
        }
    }

    /// Checks the settings for tokens of `shape`, causal or not.
    ///
    /// # Errors
    /// When a setting is out of range, or a mixer is asked to be causal.
    pub fn validate(&self, shape: BackboneShape, causal: bool) -> Result<(), ConfigError> {
        if causal && !self.supports_causal() {
            return Err(ConfigError::new(
                "causal",
                format!("true with a {} backbone", self.name()),
                "false, or a transformer: a mixer sees all tokens at once",
            ));
        }
        ConfigError::positive("width", shape.width)?;
        ConfigError::positive("tokens", shape.tokens)?;
        match self {
            Self::Transformer(transformer) => transformer.validate(shape.width),
            Self::Mixer(mixer) => mixer.validate(shape),
        }
        .map_err(|error| error.within(self.name()))
    }

    /// A backbone with random weights.
    pub fn init<B: Backend>(&self, shape: BackboneShape, device: &B::Device) -> Backbone<B> {
        match self {
            Self::Transformer(config) => Backbone::Transformer(config.init(shape.width, device)),
            Self::Mixer(config) => Backbone::Mixer(config.init(shape, device)),
        }
    }
}

/// What stands between frontend and head.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has one or two")]
pub enum Backbone<B: Backend> {
    /// Attention over tokens.
    Transformer(Transformer<B>),
    /// Linear layers over tokens and features.
    Mixer(Mixer<B>),
}

impl<B: Backend> Backbone<B> {
    /// `[batch, tokens, width]` to the same shape. `causal` keeps a token from seeing those after
    /// it; a mixer, which cannot, was refused with it by [`BackboneConfig::validate`] and ignores it.
    pub fn forward(&self, tokens: Tokens<B>, causal: bool) -> Tokens<B> {
        match self {
            Self::Transformer(transformer) => transformer.forward(tokens, causal),
            Self::Mixer(mixer) => mixer.forward(tokens),
        }
    }

    /// What comes out of each block, `[batch, tokens, width]` each, from the input up; nothing of a
    /// mixer, whose levels differ in shape.
    pub fn forward_each(&self, tokens: Tokens<B>, causal: bool) -> Vec<Tensor<B, 3>> {
        match self {
            Self::Transformer(transformer) => transformer.forward_each(tokens, causal),
            Self::Mixer(_) => Vec::new(),
        }
    }
}

impl<B: Backend> Adapt<B> for Backbone<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        match self {
            Self::Transformer(transformer) => transformer.places(walk),
            Self::Mixer(mixer) => mixer.places(walk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: BackboneShape = BackboneShape { width: 8, tokens: 4, channels: 1 };

    #[test]
    fn a_causal_mixer_is_refused() {
        let mixer = BackboneConfig::Mixer(MixerConfig::default());
        assert!(mixer.validate(SHAPE, false).is_ok());
        let message = mixer.validate(SHAPE, true).unwrap_err().to_string();
        assert!(message.starts_with("`causal` is true with a mixer backbone"), "{message}");
    }

    #[test]
    fn mistakes_carry_the_whole_key() {
        let config = TransformerConfig { heads: 3, ..Default::default() };
        let error = BackboneConfig::Transformer(config).validate(SHAPE, true).unwrap_err();
        assert_eq!(error.key, "transformer.heads");
    }
}
