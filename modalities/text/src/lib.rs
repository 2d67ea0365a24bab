//! Text: tokenizers, encoders, decoders, and what they are trained to do.
//!
//! - [`tokenizer`] turns text into ids and back, and is trained; [`cache`] keeps the ids of a
//!   corpus, [`packing`] makes sequences of them, and [`data`] what a recipe trains on.
//! - [`model`]: [`TextModel`], an embedding, a transformer (or two) and heads, put together by
//!   [`config`]. BERT, GPT-2, Llama and T5 are presets of it, and [`hub`] their directories.
//! - [`labelled`] makes examples of labelled text, and [`predict`] what a model says of new text.
//! - [`opened`]: a model directory with its tokenizer; [`author`], [`annotate`] and [`embed`] use it.
//! - [`batch`]: texts as ids; [`head`]: what is made of tokens; [`generate`]: how they are written on.
//! - [`embed`]: texts to vectors, and what is like a query.
//! - [`metrics`] says how good classes, tags, answers, rankings, translations and representations
//!   are.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotate;
#[cfg(test)]
mod arranged_tests;
pub mod author;
pub mod batch;
mod bm25;
#[cfg(test)]
mod bottleneck_tests;
mod branches;
pub mod cache;
mod check;
mod commands;
pub mod config;
pub mod cost;
pub mod data;
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
pub mod metrics;
pub mod modality;
pub mod model;
mod ngram;
pub mod opened;
pub mod order;
pub mod packing;
pub mod pointer;
pub mod predict;
pub mod presets;
pub mod recipe;
mod salience;
pub mod sources;
mod stage_model;
mod token_model;
pub mod tokenizer;
pub mod transfer;

pub use batch::{HostText, Text};
pub use cache::{CacheSpec, TokenCache};
pub use config::TextModelConfig;
pub use embedding::TextEmbedding;
pub use modality::TEXT;
pub use model::TextModel;
pub use packing::{PackedSource, Packing};
pub use tokenizer::{Role, TextTokenizer, TokenizerSpec};
