//! Why a model directory could not be made a model.

use crate::HubError;
use kiln_core::blame::{Blame, Blamed};
use kiln_nn::ConfigError;
use std::path::{Path, PathBuf};

/// Why a model directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Files or weights.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A setting of one of its JSON files that makes no sense or is not supported.
    #[error("{}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The setting.
        error: ConfigError,
    },
    /// Another kind of model.
    #[error("{} holds a model of type `{found}`; expected {expected}", path.display())]
    ModelType {
        /// The directory.
        path: PathBuf,
        /// Its `model_type`.
        found: String,
        /// What would do.
        expected: String,
    },
}

impl Blamed for ModelError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Hub(error) => Blame::Inner(error),
            _ => Blame::User,
        }
    }
}

impl ModelError {
    /// A setting of a file in a model directory.
    pub fn in_file(dir: &Path, file: &str) -> impl FnOnce(ConfigError) -> Self + use<> {
        let path = dir.join(file);
        move |error| Self::Config { path, error }
    }
}
