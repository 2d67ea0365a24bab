//! `checkpoint.json`: what the trainer remembers, and what a checkpoint consists of.

use crate::diagnostics::Memory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the layout of checkpoints.
pub(super) const FORMAT: u32 = 1;

/// What the trainer remembers besides the learner's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the layout.
    pub format: u32,
    /// The version of Kiln that wrote it.
    pub kiln: String,
    /// The stage, from 0.
    pub stage: usize,
    /// Its name.
    pub stage_name: String,
    /// Steps of the whole run: those of earlier stages as planned, and [`Self::stage_step`].
    pub step: u64,
    /// Steps of this stage that are done.
    pub stage_step: u64,
    /// Whether the stage came to its end, by its steps or by patience.
    pub finished: bool,
    /// The best validation of the stage.
    pub best: Option<Best>,
    /// Validations since then.
    pub stale: u64,
    /// Steps that were skipped for a loss or gradient that was no number.
    pub bad_steps: u64,
    /// Seconds of training in this stage.
    pub seconds: f64,
    /// Tokens that the model has seen in this stage.
    #[serde(default)]
    pub tokens: u64,
    /// The loss that was logged last.
    pub loss: Option<f64>,
    /// What the watch over training diagnostics remembers.
    pub diagnostics: Memory,
    /// The learner's tensors and their shapes.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// Every file but this one, relative to the checkpoint.
    pub files: BTreeMap<String, FileRecord>,
}

impl Manifest {
    /// The manifest of a stage that has not begun; `step` is where it begins in the run.
    pub fn new(stage: usize, stage_name: &str, step: u64) -> Self {
        Self {
            format: FORMAT,
            kiln: env!("CARGO_PKG_VERSION").to_owned(),
            stage,
            stage_name: stage_name.to_owned(),
            step,
            stage_step: 0,
            finished: false,
            best: None,
            stale: 0,
            bad_steps: 0,
            seconds: 0.0,
            tokens: 0,
            loss: None,
            diagnostics: Memory::default(),
            tensors: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }
}

/// The best validation of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The step of the run; its checkpoint is kept.
    pub step: u64,
    /// The first measure.
    pub value: f64,
    /// The objective's own loss, which tells apart what the first measure does not: a word error
    /// rate stays at one while a recogniser learns to say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

impl Best {
    /// Whether it is better than another.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let measures = |best: &Self| (best.value, best.loss.unwrap_or(f64::NAN));
        measures(self) < measures(other)
    }
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its length.
    pub bytes: u64,
    /// Its digest, in hexadecimal.
    pub sha256: String,
}
