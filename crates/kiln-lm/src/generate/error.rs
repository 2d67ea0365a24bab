//! Why a model cannot generate.

/// Why nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The model writes nothing.
    #[error(
        "this model writes nothing: it sees all of a text at once; texts are written by decoders \
         (`causal = true`) and encoder-decoders with a language head"
    )]
    NoDecoder,
    /// Nothing to begin with.
    #[error("{} is empty, and the model has no token to begin with", which(*number))]
    NoPrompt {
        /// Which of several, from 1.
        number: Option<usize>,
    },
    /// More than the model has positions for.
    #[error("{} has {found} tokens; the model has positions for {longest}", which(*number))]
    TooLong {
        /// Which of several, from 1.
        number: Option<usize>,
        /// Tokens of the prompt.
        found: usize,
        /// Positions.
        longest: usize,
    },
    /// Settings that make no sense.
    #[error("`{key}` is {found}; expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it is.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

fn which(number: Option<usize>) -> String {
    number.map_or_else(|| "the prompt".to_owned(), |number| format!("prompt {number}"))
}
