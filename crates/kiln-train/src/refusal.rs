//! Why a run does not resume with a changed recipe.

use std::fmt;

/// Keys of a stage that may change.
pub(crate) const MAY_CHANGE: [&str; 12] = [
    "steps",
    "schedule.*",
    "optimizer.*.learning_rate",
    "optimizer.*.weight_decay",
    "clip",
    "patience",
    "restore_best",
    "validate_every",
    "checkpoint_every",
    "keep",
    "log_every",
    "max_bad_steps",
];

/// Why a run does not go on with a changed recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key is none that may change.
    Fixed,
    /// The run is finished.
    Finished,
    /// The stage has ended.
    StageEnded,
    /// The stage has done more steps already.
    StepsDone(u64),
    /// Nothing says why.
    NoNote,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => {
                let keys = MAY_CHANGE.map(|key| format!("`{key}`")).join(", ");
                write!(f, "in a run that has begun, only these of a stage may change: {keys}")
            }
            Self::Finished => f.write_str("the run is finished"),
            Self::StageEnded => f.write_str("the stage has ended"),
            Self::StepsDone(steps) => write!(f, "{steps} steps are done, so it takes more"),
            Self::NoNote => f.write_str("that is possible with a note that says why"),
        }
    }
}
