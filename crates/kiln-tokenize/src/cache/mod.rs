//! Token cache: the ids of a corpus, encoded once and memory-mapped.
//!
//! A cache is a folder, named by what it was made of: the tokenizer, the files with their sizes and
//! times, and how they are read. In it:
//!
//! ```text
//! tokens.bin      the ids of all documents, u16 where the vocabulary allows, else u32
//! documents.bin   where each document begins, u64 in tokens, and the end of the last
//! words.bin       a bit a token, from the lowest: whether it begins a word; where asked for
//! prefixes.bin    how many of each document's tokens are its prefix, u32; where there are any
//! meta.json       counts, and what it was made of
//! ```
//!
//! Numbers are little-endian. A cache is built beside and renamed: it is there in full or not at
//! all, and processes that build the same one at once do not disturb each other.

mod build;
mod layout;
#[cfg(test)]
mod tests;
mod token_cache;

pub use layout::{CacheError, CacheSpec, Meta, Result, SourceFile};
pub use token_cache::TokenCache;
