//! Text: corpora, and what language models (`kiln-lm`) are trained to do with them.
//!
//! - [`data`]: training batches of what `kiln-tokenize` packs.
//! - [`labelled`] makes examples of labelled text.
//! - [`opened`]: a model directory with its tokenizer; [`text_generator`], [`annotate`] and [`embed`]
//!   use it.
//! - [`embed`]: text embeddings, search and reranking; [`evaluate`]: metrics beside baselines.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotate;
mod check;
mod commands;
pub mod cost;
pub mod data;
pub mod data_error;
mod documents;
pub mod embed;
pub mod evaluate;
pub mod job;
pub mod labelled;
pub mod lexicon;
pub mod modality;
pub mod opened;
pub mod order;
pub mod recipe;
mod salience;
pub mod sources;
mod stage_model;
pub mod text_generator;
pub mod transfer;

pub use modality::TEXT;
