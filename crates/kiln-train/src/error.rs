//! What can go wrong between a recipe and a trained model.

use crate::{
    recipe::RecipeError,
    refusal::Refusal,
    task::{TaskError, TaskSourceError},
};
use kiln_core::blame::{Blame, BlameOf, Blamed, blame_of};
use kiln_host::FileError;
use kiln_hub::{HubError, ModelError};
use std::path::PathBuf;

/// Kiln-train's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// The modality's own code failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A file was read, but its content is not what was written.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting of a stage cannot work.
    #[error("`{key}` is {got}, expected {expected}")]
    Setting {
        /// The recipe's key, within the stage.
        key: &'static str,
        /// Its value.
        got: String,
        /// What would do.
        expected: &'static str,
    },
    /// A pattern matches no parameter.
    #[error("`{key}` pattern `{pattern}` matches no parameter; near it: {}", near.join(", "))]
    NoSuchParameter {
        /// The recipe's key, within the stage.
        key: &'static str,
        /// The pattern.
        pattern: String,
        /// The names most like it.
        near: Vec<String>,
    },
    /// A part of another model does not fit.
    #[error(
        "`init.parts`: `{name}` of {from} has shape {found:?}, the model wants {expected:?}; both \
         need the same sizes, and for embeddings the same vocabulary"
    )]
    OtherShape {
        /// The other model, as the user named it.
        from: String,
        /// The parameter.
        name: String,
        /// Its shape in the model.
        expected: Vec<usize>,
        /// Its shape in the other model.
        found: Vec<usize>,
    },
    /// Every parameter is held fixed.
    #[error("`freeze` or `adapt` holds every parameter fixed, so nothing is left to train")]
    NothingToTrain,
    /// Adapters that make no sense or do not fit the model.
    #[error(transparent)]
    Adapt(kiln_nn::ConfigError),
    /// The source of training examples is empty.
    #[error("the training data holds no example")]
    NoExamples,
    /// An example could not be read.
    #[error("cannot read training example {index}")]
    Example {
        /// Its index in the source.
        index: u64,
        /// Why.
        #[source]
        source: TaskError,
    },
    /// Examples could not be put together.
    #[error("cannot put together training batch {batch}")]
    Collate {
        /// The batch, counted from the start of the stage.
        batch: u64,
        /// Why.
        #[source]
        source: TaskError,
    },
    /// A thread that reads ahead ended in a panic.
    #[error("reading training data ended unexpectedly: {0}")]
    Reader(String),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// A saved state does not fit the stage.
    #[error("the saved state does not fit this stage: {problem}")]
    State {
        /// What differs.
        problem: String,
    },
    /// Too many steps with a loss or gradient that is no number.
    #[error(
        "stopped at step {step}: {bad} steps had a NaN or infinite loss or gradient; \
         lower `optimizer.*.learning_rate`, lengthen `schedule.*.warmup`, or look at the data{}",
        match checkpoint {
            Some(path) => format!("; the last good checkpoint is {}", path.display()),
            None => String::from("; there was no checkpoint yet"),
        }
    )]
    NotFinite {
        /// Steps of the stage so far.
        step: u64,
        /// How many of them were skipped.
        bad: u64,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// No step of a stage had a target to predict.
    #[error("stage `{stage}` trained nothing: none of its {steps} steps had anything to predict")]
    NothingToPredict {
        /// The stage's name.
        stage: String,
        /// Steps of the stage so far.
        steps: u64,
    },
    /// The directory holds a run already.
    #[error(
        "{} holds a {} already; {}",
        dir.display(),
        if *finished { "finished run" } else { "run" },
        if *finished {
            "choose another directory, or overwrite it"
        } else {
            "resume it, overwrite it, or choose another directory"
        }
    )]
    RunExists {
        /// The run directory.
        dir: PathBuf,
        /// Whether it came to its end.
        finished: bool,
    },
    /// The directory holds something else.
    #[error("{} is not empty and holds no run; choose another directory", dir.display())]
    NotARun {
        /// The directory.
        dir: PathBuf,
    },
    /// The run to resume was started from another recipe.
    #[error(
        "{} was started from another recipe: `{key}` was {was} and is now {now}; {why}; resume with \
         the recipe it was started with, or choose another directory",
        dir.display()
    )]
    OtherRecipe {
        /// The run directory.
        dir: PathBuf,
        /// The first key that keeps the run from going on.
        key: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        now: String,
        /// Why that keeps it.
        why: Refusal,
    },
    /// Another process trains in this directory.
    #[error("another process is training in {}", dir.display())]
    Locked {
        /// The run directory.
        dir: PathBuf,
    },
    /// A record could not be written as JSON.
    #[error("cannot write {what} as JSON")]
    Json {
        /// What was to be written.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Signals cannot be listened for.
    #[error("cannot listen for Ctrl-C")]
    Signals(#[source] std::io::Error),
    /// A recipe has a mistake.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A model directory could not be found, read or written.
    #[error(transparent)]
    Hub(#[from] HubError),
}

impl Error {
    /// What went wrong and why, in one line.
    pub(crate) fn with_cause(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

impl Blamed for Error {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Recipe(_)
            | Self::Adapt(_)
            | Self::Setting { .. }
            | Self::NoSuchParameter { .. }
            | Self::OtherShape { .. }
            | Self::NothingToTrain
            | Self::NoExamples
            | Self::NothingToPredict { .. }
            | Self::RunExists { .. }
            | Self::NotARun { .. }
            | Self::OtherRecipe { .. } => Blame::User,
            Self::Hub(error) => Blame::Inner(error),
            Self::Task(error) => Blame::Inner(error.as_ref()),
            _ => Blame::Cause,
        }
    }
}

/// The error types of this crate and of those below it.
pub const ERRORS: &[BlameOf] = &[
    blame_of::<Error>,
    blame_of::<RecipeError>,
    blame_of::<TaskSourceError>,
    blame_of::<FileError>,
    blame_of::<HubError>,
    blame_of::<ModelError>,
];
