//! Why texts could not be embedded.

use crate::opened::OpenError;
use kiln_core::blame::{Blame, Blamed};
use kiln_datasets::DataError;
use kiln_hub::HubError;
use kiln_tokenize::tokenizer::TokenizerError;
use std::path::PathBuf;

/// Why texts could not be embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// One of its files cannot be read or written.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Texts cannot be read, or vectors not be written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A directory of sentence-transformers with parts that we do not have.
    #[error("{}: {what} cannot be used; a transformer is read, a pooling, dense layers, norms", path.display())]
    Unsupported {
        /// The file or directory.
        path: PathBuf,
        /// What is in it.
        what: String,
    },
    /// A model that cannot rank: neither a cross-encoder nor a seq2seq ranker.
    #[error(
        "the model says no number of a query and a text together; train one that does with \
         `objective.cross-encoder`, or an encoder-decoder with `objective.supervised` and judged queries"
    )]
    NoRanking,
    /// A prompt that the model does not have.
    #[error("the model has no prompt `{name}`; {}", offered(known))]
    Prompt {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Texts longer than the model has positions for.
    #[error("texts of {asked} tokens are asked for; the model has positions for {most}")]
    TooLong {
        /// What was asked for.
        asked: usize,
        /// Positions.
        most: usize,
    },
    /// No tokens are left for a text beside special tokens and prompt.
    #[error("texts of {longest} tokens hold nothing beside {around} special tokens; allow more")]
    TooShort {
        /// Tokens, at most.
        longest: usize,
        /// Special ones around a text.
        around: usize,
    },
    /// A document without the second text of its pair.
    #[error("{}: document {id} has no text in the field `{field}`", path.display())]
    NoSecond {
        /// The file.
        path: PathBuf,
        /// The document.
        id: String,
        /// The field.
        field: String,
    },
    /// An index that is none.
    #[error(
        "{}: no index of `kiln search`; name another file, or remove this one", path.display()
    )]
    NoIndex {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to embed.
    #[error("there are no texts")]
    NoTexts,
    /// The device lost the result.
    #[error("the vectors could not be read from the device: {0}")]
    Device(String),
    /// What was asked for could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Blamed for EmbedError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Hub(error) => Blame::Inner(error),
            Self::Open(error) => Blame::Inner(error),
            Self::Device(_) | Self::Output(_) | Self::Interrupted => Blame::Machine,
            _ => Blame::User,
        }
    }
}

fn offered(known: &[String]) -> String {
    match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    }
}
