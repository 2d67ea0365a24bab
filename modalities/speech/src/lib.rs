//! Speech: from raw audio to a transcript.
//!
//! - [`vocabulary`] holds the tokens of a CTC head, [`transcript`] normalises and writes text.
//! - [`decode`] turns log-probabilities into words.
//! - [`ngram`] trains and reads language models.
//! - [`metrics`] measures error rates.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod decode;
mod error;
pub mod metrics;
pub mod ngram;
pub mod transcript;
pub mod vocabulary;

pub use error::{Result, SpeechError};

/// A file of real data for tests, or a note that it is not there.
#[cfg(test)]
fn real_data(name: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("KILN_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        std::path::PathBuf::from,
    );
    let path = root.join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}
