//! Text embeddings: [`Embedder`] opens model directories, those of sentence-transformers too;
//! [`embed`] is `kiln embed`, [`search`] is `kiln search`.

mod directory;
mod embedder;
mod error;
mod passages;
mod reader;
mod request;
mod rerank;
pub mod search;
mod stream;
#[cfg(test)]
mod tests;

pub use directory::write_sentence_files;
pub use embedder::Embedder;
pub use error::EmbedError;
pub use passages::Passages;
pub use request::{Prompt, Request, Take, Watch};
pub use rerank::Reranker;
pub use stream::{Summary, embed};
