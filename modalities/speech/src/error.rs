//! What can go wrong between speech and text.

use kiln_hub::HubError;
use kiln_metrics::ngram::NgramError;
use kiln_nn::ConfigError;
use std::path::{Path, PathBuf};

/// Kiln-speech's result.
pub type Result<T> = std::result::Result<T, SpeechError>;

/// What went wrong, where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpeechError {
    /// A file of a model directory could not be read or written.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A vocabulary cannot be used.
    #[error("vocabulary{}: {cause}", at(.path))]
    Vocabulary {
        /// The file, where it comes from one.
        path: Option<PathBuf>,
        /// What is wrong with it.
        cause: String,
    },
    /// A transcript has a character that the vocabulary lacks.
    #[error("transcript `{transcript}` has `{character}` ({code}), which the vocabulary lacks")]
    UnknownCharacter {
        /// Which transcript.
        transcript: String,
        /// The character, with its diacritics.
        character: String,
        /// Its code points, `U+1EBF`.
        code: String,
    },
    /// An n-gram model cannot be read, trained or used.
    #[error(transparent)]
    Ngram(#[from] NgramError),
    /// Log-probabilities have another width than the vocabulary.
    #[error("log-probabilities have {found} columns; the vocabulary has {expected} tokens")]
    Columns {
        /// The vocabulary's tokens.
        expected: usize,
        /// Columns.
        found: usize,
    },
    /// A number is no log-probability.
    #[error(
        "frame {frame}, token {token}: {found} is no natural logarithm of a probability; expected \
         the output of a log-softmax"
    )]
    LogProbability {
        /// The frame, counted from 0.
        frame: usize,
        /// The token's id.
        token: usize,
        /// The number.
        found: f32,
    },
    /// A label sequence does not fit into the frames.
    #[error("{tokens} tokens with {repeats} repeats need {} frames, there are {frames}", tokens + repeats)]
    LabelTooLong {
        /// Tokens of the label.
        tokens: usize,
        /// Neighbouring equal tokens, which need a blank between them.
        repeats: usize,
        /// Frames.
        frames: usize,
    },
}

impl kiln_core::blame::Blamed for SpeechError {}

impl SpeechError {
    /// A vocabulary, wherever it comes from, that cannot be used.
    pub(crate) fn vocabulary(cause: impl Into<String>) -> Self {
        Self::Vocabulary { path: None, cause: cause.into() }
    }

    /// A [`SpeechError::Hub`] about reading or writing, for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Hub(HubError::Io { action, path, source })
    }
}

fn at(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
}
