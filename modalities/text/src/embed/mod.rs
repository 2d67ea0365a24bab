//! Text embeddings: [`Embedder`] opens model directories, those of sentence-transformers too;
//! [`embed`] is `kiln embed`, [`search`] is `kiln search`.

mod directory;
mod embedder;
mod passages;
mod reader;
mod rerank;
pub mod search;
mod stream;
#[cfg(test)]
mod tests;

pub use directory::write_sentence_files;
pub use embedder::Embedder;
pub use passages::Passages;
pub use rerank::Reranker;
pub use stream::{Summary, embed};

use crate::opened::OpenError;
use kiln_core::blame::{Blame, Blamed};
use kiln_datasets::{
    DataError,
    vectors::{Passage, Vectors},
};
use kiln_hub::HubError;
use kiln_lm::config::Pooling;
use kiln_tokenize::tokenizer::TokenizerError;
use kiln_train::recipe::Device;
use std::{ops::ControlFlow, path::PathBuf};

/// Embedding request: truncation, pooling, normalisation, prompt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Request {
    /// Tokens of a text at most, special ones among them; as the model's directory says if absent.
    pub longest: Option<usize>,
    /// Tokens of a batch, at most, its padding among them.
    pub batch_tokens: usize,
    /// Whether vectors are scaled to length one, also where the model does not.
    pub normalise: bool,
    /// Which tokens are pooled; as the model's directory says if absent.
    pub pooling: Option<Pooling>,
    /// The prompt before texts.
    pub prompt: Prompt,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            longest: None,
            batch_tokens: 1024,
            normalise: false,
            pooling: None,
            prompt: Prompt::default(),
        }
    }
}

impl Request {
    /// The default request with batches sized for a device: small ones for the caches of a CPU.
    pub fn on(device: Device) -> Self {
        let batch_tokens = match device {
            Device::Cpu => 1024,
            Device::Cuda => 32_768,
        };
        Self { batch_tokens, ..Self::default() }
    }
}

/// The prompt before texts, of those in the model's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Prompt {
    /// The directory's default prompt.
    #[default]
    Default,
    /// The prompt of this name.
    Named(String),
    /// The query prompt, where there is one.
    Query,
    /// The document prompt, where there is one.
    Document,
}

/// Progress callback: the number of texts embedded since the last call; it returns whether to go
/// on.
pub type Watch<'a> = dyn FnMut(usize) -> ControlFlow<()> + 'a;

/// Output callback: passages with their vectors, equally many.
pub type Take<'a> = dyn FnMut(&[Passage], &Vectors) -> Result<(), EmbedError> + 'a;

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
