//! Language models: encoders, decoders and encoder-decoders over token ids.
//!
//! - [`config`] and [`presets`]: what a model is made of; BERT, GPT-2, Llama and T5 are presets.
//! - [`model`]: [`TextModel`], an embedding, a transformer (or two) and heads ([`head`],
//!   [`mod@pointer`]).
//! - [`batch`] and [`examples`]: token ids, with padding, segments, documents and labels.
//! - [`generate`]: greedy decoding, sampling and beam search with a KV cache, for every
//!   [`generate::Decoder`].
//! - [`hub`]: model directories of Hugging Face families.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attention_pooling;
pub mod batch;
mod branches;
mod capabilities;
pub mod config;
mod embedding;
pub mod examples;
pub mod generate;
pub mod head;
pub mod hub;
mod initial;
mod label_loss;
pub mod model;
pub mod pointer;
pub mod predict;
pub mod presets;
mod stack;

pub use batch::{HostText, Text};
pub use config::TextModelConfig;
pub use embedding::TextEmbedding;
pub use model::TextModel;
pub use stack::decoder_states;
