//! Commands of the binary for speech.

mod ngram;
mod transcribe;

use kiln_train::verb::{DATA, Verb};

/// The commands.
pub(crate) static VERBS: [Verb; 2] =
    [Verb::new::<transcribe::Transcribe>(), Verb::within::<ngram::Ngram>(DATA)];
