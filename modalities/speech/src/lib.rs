//! Speech: from raw audio to a transcript.
//!
//! - [`model`]: [`SpeechModel`], a wave or log-mel frontend, a transformer and heads, put together
//!   by [`config`]; wav2vec 2.0 is a preset of it. [`token_model`] shows it to objectives.
//! - [`batch`]: clips to batches; [`log_mel`]: spectrograms.
//! - [`cluster`]: units for masked prediction, by k-means.
//! - [`whisper`]: the encoder-decoder.
//! - [`hub`]: model directories of Hugging Face.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod batch;
pub mod cluster;
pub mod config;
pub mod frontend;
pub mod hub;
pub mod log_mel;
pub mod model;
pub mod presets;
pub mod quantiser;
pub mod token_model;
pub mod whisper;

pub use batch::{BatchError, Clip, Collator, SpeechBatch, SpeechHostBatch};
pub use config::SpeechModelConfig;
pub use hub::ModelError;
pub use model::SpeechModel;
pub use presets::Preset;
