//! Text: encoders, decoders, and what they are trained to do.
//!
//! - [`data`]: training batches of what `kiln-tokenize` packs.
//! - [`model`]: [`TextModel`], an embedding, a transformer (or two) and heads, put together by
//!   [`config`]. BERT, GPT-2, Llama and T5 are presets of it, and [`hub`] their directories.
//! - [`labelled`] makes examples of labelled text; [`predict`] is inference.
//! - [`opened`]: a model directory with its tokenizer; [`text_generator`], [`annotate`] and [`embed`]
//!   use it.
//! - [`batch`]: texts as ids; [`head`]: what is made of tokens; [`generate`]: how they are written on.
//! - [`embed`]: text embeddings, search and reranking; [`evaluate`]: metrics beside baselines.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotate;
#[cfg(test)]
mod arranged_tests;
pub mod batch;
#[cfg(test)]
mod bottleneck_tests;
mod branches;
pub mod config;
pub mod cost;
pub mod data;
pub mod data_error;
mod documents;
pub mod embed;
mod embedding;
pub mod evaluate;
pub mod examples;
pub mod generate;
pub mod head;
pub mod hub;
pub mod job;
mod label_loss;
pub mod labelled;
mod learnt_query;
pub mod lexicon;
pub mod modality;
pub mod model;
pub mod opened;
pub mod order;
pub mod pointer;
pub mod predict;
pub mod presets;
pub mod recipe;
mod salience;
pub mod sources;
mod stage_model;
pub mod task;
pub mod text_generator;
mod token_model;
pub mod transfer;

pub use batch::{HostText, Text};
pub use config::TextModelConfig;
pub use embedding::TextEmbedding;
pub use model::TextModel;
