//! Neural blocks that every modality shares.
//!
//! A block is a config that is validated first and then built infallibly:
//! `config.validate(..)?; let block = config.init(.., &device);`. Names of architectures are
//! configs over these blocks, never blocks of their own.
//!
//! - [`Backbone`]: a [`Transformer`] or a [`Mixer`] over [`kiln_core::Tokens`].
//! - [`Attention`], [`FeedForward`], [`Norm`], [`Activation`]: what they are made of.
//! - [`Embedding`], [`WaveEncoder`]: from ids and waves to tokens; [`Conv1d`], [`GroupNorm`].
//! - [`sinusoids`], [`sinusoid_halves`]: fixed positions; [`PositionalConv`], [`PositionConfig`]:
//!   relative ones.
//! - [`ByName`]: modules of one kind, each with a name.
//! - [`adapt`]: few parameters that are trained in the place of all.
//! - [`ConfigError`]: a setting that makes no sense, by its key.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod adapt;
mod attention;
mod backbone;
mod by_name;
mod conv;
mod dropout;
mod embedding;
mod error;
mod feed_forward;
mod linear;
mod mixer;
mod norm;
mod position;
mod positional_conv;
mod precision;
mod quantize;
mod shape;
mod spelling;
mod transformer;
mod wave;

pub use attention::{Attention, AttentionBias, AttentionConfig, KvCache};
pub use backbone::{Backbone, BackboneConfig};
pub use by_name::ByName;
pub use conv::{Conv1d, Conv1dConfig, GroupNorm, GroupNormConfig};
pub use dropout::Dropout;
pub use embedding::{Embedding, EmbeddingConfig};
pub use error::ConfigError;
pub use feed_forward::{FeedForward, FeedForwardConfig};
pub use kiln_kernels::{Activation, AttentionPattern, AttentionVisibility};
pub use linear::{Linear, LinearConfig};
pub use mixer::{Axis, Mixer, MixerBlock, MixerConfig, MixerLayer, MixerStage};
pub use norm::{Norm, NormConfig, NormKind, RunningStatistics};
pub use position::{
    Llama3Scaling, PositionConfig, Positions, RelativeBias, RelativeConfig, RotaryConfig,
    RotaryScaling, Rotation, YarnScaling, sinusoid_halves, sinusoids,
};
pub use positional_conv::{PositionalConv, PositionalConvConfig};
pub use quantize::quantized;
pub use shape::BackboneShape;
pub use spelling::{activation_name, activation_named};
pub use transformer::{
    CrossAttentionBlock, DecoderCache, EveryLayer, ForwardOptions, LocalConfig, Transformer,
    TransformerBlock, TransformerConfig,
};
pub use wave::{
    WaveEncoder, WaveEncoderConfig, WaveLayer, WaveLayerConfig, WaveNorm, WaveNormKind,
};
