//! Why labelled rows cannot become examples.

use super::chat::ChatError;
use kiln_datasets::DataError;
use kiln_tokenize::tokenizer::TokenizerError;

/// Why a row cannot become an example.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A label that nobody knows.
    #[error(transparent)]
    Label(#[from] DataError),
    /// A conversation that cannot be rendered as one text.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A row of another kind than the first.
    #[error("row {0} is of another kind than those before it")]
    Kind(usize),
    /// Control tokens of good and bad texts that are the same ids.
    #[error(
        "`control`: {good:?} and {bad:?} become the same ids; name them in \
         `tokenizer.train.additional`"
    )]
    Control {
        /// The control token of good texts.
        good: String,
        /// The control token of the others.
        bad: String,
    },
}
