//! Why a model cannot generate.

/// Why a model cannot generate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The model is no decoder.
    #[error(
        "this model generates no text: its attention is bidirectional; decoders (`causal = true`) and \
         encoder-decoders with a language head generate"
    )]
    NoDecoder,
    /// An empty prompt.
    #[error("{} is empty, and the model has no token to begin with", which(*number))]
    NoPrompt {
        /// Which of several, from 1.
        number: Option<usize>,
    },
    /// A prompt longer than the model has positions for.
    #[error("{} has {found} tokens; the model has positions for {longest}", which(*number))]
    TooLong {
        /// Which of several, from 1.
        number: Option<usize>,
        /// Tokens of the prompt.
        found: usize,
        /// Positions.
        longest: usize,
    },
    /// A setting out of range.
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

impl kiln_core::blame::Blamed for GenerationError {}

fn which(number: Option<usize>) -> String {
    number.map_or_else(|| "the prompt".to_owned(), |number| format!("prompt {number}"))
}
