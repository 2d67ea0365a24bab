//! Tokenizers, built on Hugging Face's `tokenizers`.
//!
//! [`TextTokenizer`] is one with its special tokens by [`Role`]; [`TokenizerSpec`] says which to
//! train; [`IdEncoder`] encodes much text fast.

mod chunk;
mod encoder;
mod error;
mod merges;
mod role;
mod spec;
mod special;
mod text_tokenizer;
mod train;
mod unigram;
mod words;

pub use encoder::{Encoded, IdEncoder};
pub use error::{Result, TokenizerError};
pub use role::Role;
pub use spec::{Around, Model, TokenizerSpec};
pub use special::{SpecialToken, SpecialTokens};
pub use text_tokenizer::{TOKENIZER_FILE, TextTokenizer};
pub use tokenizers::Encoding;
pub use train::Progress;

#[cfg(test)]
mod tests;
