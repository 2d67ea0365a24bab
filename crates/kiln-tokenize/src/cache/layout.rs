//! The files of a cache, and what they are made of.

use crate::tokenizer::TokenizerError;
use kiln_datasets::{DataError, Documents, documents::Tally};
use kiln_host::FileError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of the layout; another one is another cache.
pub(super) const VERSION: u32 = 3;

pub(super) const TOKENS: &str = "tokens.bin";
pub(super) const DOCUMENTS: &str = "documents.bin";
pub(super) const WORDS: &str = "words.bin";
pub(super) const PREFIXES: &str = "prefixes.bin";
pub(super) const META: &str = "meta.json";

/// Why a cache cannot be built or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The documents cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A document cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file of the cache cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A cache that does not match its `meta.json`.
    #[error("{} is damaged: {reason}; delete the folder to build it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// No document had any text.
    #[error("the documents hold no text: {0}")]
    Empty(Tally),
}

/// A result of caches.
pub type Result<T> = std::result::Result<T, CacheError>;

/// Specification of a token cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSpec {
    /// The documents. What they keep beside their text is not cached.
    pub documents: Documents,
    /// Whether word starts are cached: whole-word masking needs them.
    pub words: bool,
}

/// Metadata of a cache, `meta.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// The layout.
    pub version: u32,
    /// The tokenizer's fingerprint.
    pub tokenizer: String,
    /// Bytes of an id, 2 or 4.
    pub width: usize,
    /// Documents.
    pub documents: u64,
    /// Tokens.
    pub tokens: u64,
    /// Whether there is `words.bin`.
    pub words: bool,
    /// Whether there is `prefixes.bin`.
    pub prefixes: bool,
    /// What was read.
    pub tally: Tally,
    /// The files with their sizes and times, which show whether they have changed.
    pub sources: Vec<SourceFile>,
}

/// A file that a cache was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it was changed last, ns since 1970.
    pub modified: u64,
}
