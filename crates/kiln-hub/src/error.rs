//! What can go wrong with a model directory.

use crate::load_report::LoadReport;
use kiln_core::blame::{Blame, Blamed};
use kiln_host::FileError;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Kiln-hub's result.
pub type Result<T> = std::result::Result<T, HubError>;

/// What went wrong, in which file, and what to do about it where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `write`, `create`.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A weights file ends too early or holds more than its header says.
    #[error(
        "{} is damaged: its header describes {expected} bytes, the file has {found}; \
         it was probably cut short while being copied or downloaded",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that header and tensors need.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// A weights file's header makes no sense.
    #[error("{} is no valid safetensors file: {cause}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A tensor has a type that cannot be read as numbers.
    #[error("{}: tensor `{tensor}` is stored as {found}, which cannot be read; expected F64, F32, F16, BF16, or integers", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// The bytes are not those that were written.
    #[error("{} is damaged: its contents do not match the digest written with them", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
    },
    /// A tensor occurs twice.
    #[error("{}: tensor `{tensor}` occurs more than once", path.display())]
    Duplicate {
        /// The file, or the directory where two shards hold the same tensor.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The index of sharded weights does not match the shards.
    #[error("{}: {cause}", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What does not match.
        cause: String,
    },
    /// A PyTorch file could not be read.
    #[error("{} cannot be read as a PyTorch file of plain tensors: {cause}", path.display())]
    Pytorch {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// `config.json` or another JSON file has a mistake.
    #[error("{}: {cause}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// There are no weights.
    #[error(
        "{} holds no weights; expected model.safetensors, model.safetensors.index.json or \
         pytorch_model.bin", dir.display()
    )]
    NoWeights {
        /// The model directory.
        dir: PathBuf,
    },
    /// Nothing by this name is a model.
    #[error("`{spec}` is no model: {cause}")]
    NotAModel {
        /// What was asked for.
        spec: String,
        /// What was found instead, and what was expected.
        cause: String,
    },
    /// A hub id or revision with characters that the hub does not allow.
    #[error("`{spec}` is no hub id; expected `organisation/name` or `organisation/name@revision`")]
    Id {
        /// What was given.
        spec: String,
    },
    /// Weights and module do not fit together.
    #[error("the weights do not fit the model: {0}")]
    Mismatch(Box<LoadReport>),
    /// Two names became one, or a tensor could not be taken out of a module.
    #[error("tensor `{tensor}`: {cause}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        cause: String,
    },
    /// A rename rule is no regular expression: a mistake in a checkpoint family's code.
    #[error("rename rule `{rule}`: {cause}")]
    Rule {
        /// The rule's pattern.
        rule: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Downloads are switched off and the cache does not have the model.
    #[error(
        "`{id}` is not in the cache {} and HF_HUB_OFFLINE is set; unset it to download, or give \
         a local directory", cache.display()
    )]
    Offline {
        /// The hub id.
        id: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The hub could not be reached.
    #[error(
        "cannot reach {endpoint} to download `{id}`: {cause}; check the network (HF_ENDPOINT \
         names another mirror) or give a local directory"
    )]
    Unreachable {
        /// The hub id.
        id: String,
        /// The hub's address.
        endpoint: String,
        /// What the network said.
        cause: String,
    },
    /// The hub has no such model, revision or file.
    #[error("{endpoint} has no {what} of `{id}`; check the spelling and the revision")]
    NotFound {
        /// The hub id.
        id: String,
        /// The hub's address.
        endpoint: String,
        /// `config.json`, or another file.
        what: String,
    },
    /// The hub refuses: the model is gated or private.
    #[error(
        "{endpoint} does not let us read `{id}` (status {status}): accept its licence on \
         {endpoint}/{repo}, then set HF_TOKEN to an access token of that account{}",
        if *.had_token { " (the token given was refused)" } else { "" }
    )]
    Gated {
        /// The hub id.
        id: String,
        /// The id without its revision.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// A download stopped in the middle.
    #[error(
        "the download of {file} of `{id}` was interrupted: {cause}; run the same command again \
         to go on where it stopped"
    )]
    Interrupted {
        /// The hub id.
        id: String,
        /// The file.
        file: String,
        /// What happened.
        cause: String,
    },
    /// The hub answered something unexpected.
    #[error("{endpoint} answered unexpectedly for {file} of `{id}`: {cause}")]
    Server {
        /// The hub id.
        id: String,
        /// The hub's address.
        endpoint: String,
        /// The file.
        file: String,
        /// The status or what was missing.
        cause: String,
    },
}

impl From<FileError> for HubError {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::Io { action, path, source }
    }
}

impl Blamed for HubError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Io { action: "read", source, .. } if source.kind() == ErrorKind::NotFound => {
                Blame::User
            }
            Self::Io { .. }
            | Self::Offline { .. }
            | Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::Server { .. }
            | Self::Rule { .. }
            | Self::Tensor { .. } => Blame::Machine,
            _ => Blame::User,
        }
    }
}

impl HubError {
    /// An [`HubError::Io`] for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
