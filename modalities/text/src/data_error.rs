//! Why there is nothing to train on.

use crate::labelled::error::EncodeError;
use kiln_core::MixtureError;
use kiln_datasets::DataError;
use kiln_host::FileError;
use kiln_tokenize::{cache::CacheError, packing::PackingError, tokenizer::TokenizerError};
use kiln_train::task::{TaskError, TaskSourceError};
use std::path::PathBuf;

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageDataError {
    /// Documents that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tokenizer that cannot be read or trained.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Tokens that cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Documents that make no sequences.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// A tokenizer's directory that cannot be found.
    #[error("the tokenizer: {0}")]
    Directory(TaskError),
    /// No text to train on.
    #[error(
        "`data.sources` names no documents; for example \
             [{{ documents = {{ paths = [\"corpus.txt\"] }} }}]"
    )]
    NoSources,
    /// No tokenizer is named.
    #[error(
        "`data.tokenizer` is missing, and the model brings none; for example \
         {{ train = {{ model = {{ byte-bpe = {{ vocabulary = 8000 }} }} }} }}"
    )]
    NoTokenizer,
    /// Stories that cannot be kept.
    #[error("cannot write {}", .0.display())]
    Stories(PathBuf, #[source] std::io::Error),
    /// Files that cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A sequence that cannot be read.
    #[error(transparent)]
    Source(#[from] TaskSourceError),
    /// A labelled row that cannot be used.
    #[error("labelled examples: {0}")]
    Encode(#[from] EncodeError),
    /// Labelled rows that an objective does not learn from.
    #[error("`data.{0}` {1}")]
    Aim(String, String),
    /// A share that is none.
    #[error("`data.validation.tail` is {0}; expected 0 to below 1")]
    Tail(f64),
    /// Weights of sources that cannot be.
    #[error("`data.sources` and `data.phases`: {0}")]
    Mixture(#[from] MixtureError),
    /// Weights of tasks that cannot be.
    #[error("`data.tasks`: {0}")]
    Tasks(MixtureError),
}

impl kiln_core::blame::Blamed for StageDataError {}
