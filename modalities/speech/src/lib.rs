//! Speech: from raw audio to a transcript.
//!
//! - [`model`]: [`SpeechModel`], a wave or log-mel frontend, a transformer and heads, put together
//!   by [`config`]; wav2vec 2.0 is a preset of it. [`capabilities`] shows it to objectives.
//! - [`batch`]: clips to batches; [`log_mel`]: spectrograms; [`cluster`]: units for masked
//!   prediction, by k-means; [`cmvn`]: cepstral mean and variance normalisation of spectrograms, with
//!   statistics by [`cmvn_accumulator`]; [`spec_augment`]: their augmentation in training.
//! - [`whisper`]: the encoder-decoder. [`hub`]: model directories of Hugging Face.
//! - [`vocabulary`] holds the tokens of a CTC head, [`transcript`] writes text.
//! - [`decode`] turns log-probabilities into words.
//! - [`recipe`] is what a speech recipe is made of, [`data`] reads its recordings, [`job`] trains
//!   on them, [`recogniser`] is what comes of it, and [`self_training`] learns from that again;
//!   [`search`] is the decoding that a recipe asks for.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod batch;
pub mod capabilities;
pub mod cluster;
pub mod cmvn;
pub mod cmvn_accumulator;
mod commands;
pub mod config;
pub mod cost;
pub mod data;
pub mod decode;
mod error;
pub mod evaluate;
pub mod frontend;
pub mod hub;
pub mod job;
pub mod log_mel;
pub mod modality;
pub mod model;
pub mod presets;
mod provide;
pub mod quantizer;
pub mod recipe;
pub mod recogniser;
pub mod search;
pub mod self_training;
pub mod spec_augment;
pub mod transcribe;
pub mod transcript;
pub mod vocabulary;
pub mod whisper;

pub use batch::{BatchError, Clip, Collator, SpeechBatch, SpeechHostBatch};
pub use config::SpeechModelConfig;
pub use error::{Result, SpeechError};
pub use modality::SPEECH;
pub use model::SpeechModel;
pub use presets::Preset;
pub use recogniser::Recogniser;
