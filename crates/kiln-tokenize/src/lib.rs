//! Text to token ids: tokenizers, token caches and sequence packing, on the host.
//!
//! - [`tokenizer`]: Hugging Face tokenizers, opened, trained and run over much text.
//! - [`cache`]: the token ids of a corpus, memory-mapped.
//! - [`packing`]: training sequences of a fixed length from a cache.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cache;
pub mod packing;
pub mod tokenizer;

pub use cache::{CacheSpec, TokenCache};
pub use packing::{PackedSource, Packing};
pub use tokenizer::{Role, TextTokenizer, TokenizerSpec};
