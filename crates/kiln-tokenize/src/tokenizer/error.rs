//! Why a tokenizer cannot be read, trained or used.

use super::role::Role;
use kiln_datasets::DataError;
use kiln_host::FileError;
use kiln_host::blame::{Blame, Blamed};
use std::path::PathBuf;

/// What went wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Documents could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file is not what it should be.
    #[error("{}: not a tokenizer: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no tokenizer.
    #[error(
        "{}: no tokenizer.json there; `kiln data tokenizer` trains one, and those of models come \
         with them", path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A special token is needed that the tokenizer lacks.
    #[error(
        "the tokenizer has no {role} token: {purpose} needs one; name it as `{}` in \
         tokenizer_config.json, or train a tokenizer with it", role.key()
    )]
    NoSpecial {
        /// What it stands for.
        role: Role,
        /// What needs it.
        purpose: &'static str,
    },
    /// There are no sentinels for removed spans.
    #[error(
        "`denoising` needs sentinels that stand for what is taken out, and the tokenizer has none \
         (`<extra_id_0>` and on): train one with `data.tokenizer.train.sentinels = 100`"
    )]
    NoSentinels,
    /// Modes take more sentinels than there are.
    #[error(
        "`denoising` has {modes} modes, and the tokenizer {sentinels} sentinels to stand for modes \
         and spans: train one with more (`data.tokenizer.train.sentinels`)"
    )]
    FewSentinels {
        /// How many modes.
        modes: usize,
        /// How many sentinels.
        sentinels: usize,
    },
    /// Two target words that begin with the same token.
    #[error("`ranking`: {relevant:?} and {other:?} begin with the same token; give other words")]
    SameWords {
        /// The target of relevant texts.
        relevant: String,
        /// The target of others.
        other: String,
    },
    /// A special token that no token of the vocabulary is.
    #[error("{}: `{}` is `{token}`, which the vocabulary lacks", path.display(), role.key())]
    UnknownSpecial {
        /// The file that names it.
        path: PathBuf,
        /// What it stands for.
        role: Role,
        /// Its text.
        token: String,
    },
    /// A setting makes no sense.
    #[error("`{key}` is {found}, expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Training came to nothing.
    #[error("training the tokenizer failed: {0}")]
    Training(String),
    /// A text could not be encoded, or ids not decoded.
    #[error("the tokenizer failed: {0}")]
    Encoding(String),
}

impl Blamed for TokenizerError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::File(error) => Blame::Inner(error),
            _ => Blame::User,
        }
    }
}

/// A result of tokenizers.
pub type Result<T> = std::result::Result<T, TokenizerError>;

/// An error of the `tokenizers` library while encoding or decoding.
pub(super) fn encoding(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encoding(error.to_string())
}

/// An error of the `tokenizers` library while training.
pub(super) fn failed(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Training(error.to_string())
}
