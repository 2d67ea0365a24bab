//! Text: tokenizers, corpora, and what language models (`kiln-lm`) are trained to do with them.
//!
//! - [`tokenizer`] turns text into ids and back, and is trained; [`cache`] keeps the ids of a
//!   corpus, [`packing`] makes sequences of them, and [`data`] what a recipe trains on.
//! - [`labelled`] makes examples of labelled text.
//! - [`opened`]: a model directory with its tokenizer; [`author`], [`annotate`] and [`embed`] use it.
//! - [`embed`]: texts to vectors, and what is like a query.
//! - [`metrics`] says how good classes, tags, answers, rankings, translations and representations
//!   are.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotate;
pub mod author;
mod bm25;
pub mod cache;
pub mod cost;
pub mod data;
pub mod embed;
pub mod evaluate;
pub mod job;
pub mod labelled;
pub mod lexicon;
pub mod metrics;
pub mod modality;
mod ngram;
pub mod opened;
pub mod order;
pub mod packing;
pub mod recipe;
mod salience;
pub mod sources;
mod stage_model;
pub mod task;
pub mod tokenizer;
pub mod transfer;

pub use cache::{CacheSpec, TokenCache};
pub use packing::{PackedSource, Packing};
pub use tokenizer::{Role, TextTokenizer, TokenizerSpec};
