//! What is asked for: how texts are embedded, and where vectors go.

use super::error::EmbedError;
use kiln_datasets::vectors::{Passage, Vectors};
use kiln_lm::config::Pooling;
use kiln_train::recipe::Device;
use std::ops::ControlFlow;

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
