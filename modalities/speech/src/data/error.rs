//! What can be wrong with the data of a stage.

use crate::{SpeechError, cluster::ClusterError};
use kiln_datasets::DataError;
use kiln_nn::ConfigError;

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageDataError {
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Vocabulary or transcripts.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No units were found.
    #[error("units for masked training: {0}")]
    Cluster(#[from] ClusterError),
    /// Transcription is to be learned of recordings without transcripts.
    #[error("none of the {recordings} recordings has a transcript; `supervised` needs some")]
    NoTranscripts {
        /// How many recordings there are.
        recordings: usize,
    },
    /// More recordings are bad than the recipe allows.
    #[error(
        "{bad} of {of} recordings cannot be used, more than the share that `data.bad_share` allows; \
         one of them: {first}"
    )]
    TooManyBad {
        /// How many so far.
        bad: usize,
        /// How many there are.
        of: usize,
        /// What is wrong with one.
        first: String,
    },
    /// Nothing is left to train on.
    #[error(
        "{recordings} recordings are chosen, and {validation} of them set aside for validation \
         (`data.validation`): none is left to train on"
    )]
    Nothing {
        /// How many recordings there are.
        recordings: usize,
        /// How many were to be set aside.
        validation: usize,
    },
}

impl kiln_core::blame::Blamed for StageDataError {}
