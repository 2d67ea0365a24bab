//! Failure of a command: what it tells the user, and whose mistake it is.

use std::{error::Error, io, path::Path, path::PathBuf};

/// Why a command did not succeed. Any error becomes one by `?`; what it is attributed to follows from
/// [`kiln_core::blame`].
#[derive(Debug)]
pub enum Failure {
    /// A mistake of the user's, with advice.
    User {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Something about this machine that is in the way.
    Machine(String),
    /// A file could not be read or written. One to be read that is not there, or no text, is the
    /// user's mistake.
    File {
        /// `read`, `write`, `create`.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user stopped it; all there is to say was said.
    Interrupted,
    /// An error; an [`io::Error`] is one of standard output.
    Error(Box<dyn Error + Send + Sync>),
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A mistake of the user's, with advice.
    pub fn user(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::User { message: message.into(), help: help.into() }
    }

    /// A file that could not be read or written.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}
