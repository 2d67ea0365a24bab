//! Why an n-gram model cannot be read, trained or used.

use kiln_host::FileError;
use std::path::PathBuf;

/// A result of n-gram models.
pub type Result<T> = std::result::Result<T, NgramError>;

/// What went wrong with an n-gram model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NgramError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting makes no sense.
    #[error("`{key}` is {found}; expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// An ARPA file has a mistake.
    #[error("{}, line {line}: expected {expected}, found {found}", path.display())]
    Arpa {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A model cannot be trained or used.
    #[error("n-gram model: {cause}")]
    Model {
        /// Why.
        cause: String,
    },
}
