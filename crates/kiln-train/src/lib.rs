//! From a recipe to a trained model: stages, steps, optimizers, checkpoints and reports.
//!
//! - [`recipe`]: what a user writes, and how mistakes in it are answered.
//! - [`architecture`]: what a modality implements; [`stage_job`] and [`stage_task`]: how that becomes
//!   a [`job`] and the task of each stage.
//! - [`task`]: what the trainer needs of a stage; [`learner`]: the same with its types hidden;
//!   [`task_learner`]: how the one becomes the other.
//! - [`adapters`]: few parameters in the place of all.
//! - [`optim`], [`schedule`], [`groups`], [`loader`]: the parts of a step.
//! - [`trainer`]: the loop of a stage, with [`checkpoint`], [`logs`], [`diagnostics`] and [`interrupt`].
//! - [`runner`]: a whole run in its directory, [`run_dir`]; [`changes`]: what of its recipe may change
//!   on the way.
//! - [`model_spec`]: the model that a recipe names.
//! - [`modality`]: what a modality gives the binary; [`verb`]: commands of its own; [`failure`]: how
//!   commands fail; [`start`]: what a stage starts from;
//!   [`dispatch`]: from a device to a backend; [`cost`]: what `kiln check` estimates.
//! - [`results`]: `results.json`, a number beside its baselines; [`report`]: `report.html`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod adapters;
pub mod architecture;
pub mod changes;
pub mod checkpoint;
pub mod cost;
pub mod diagnostics;
pub mod dispatch;
mod ema;
mod error;
pub mod failure;
mod files;
pub mod groups;
pub mod interrupt;
pub mod job;
pub mod learner;
pub mod loader;
pub mod logs;
pub mod modality;
pub mod model_spec;
pub mod named;
pub mod optim;
pub mod progress;
pub mod recipe;
mod refusal;
pub mod report;
mod reset_embeddings;
pub mod results;
pub mod run_dir;
pub mod runner;
pub mod schedule;
pub mod stage_job;
pub mod stage_task;
pub mod start;
pub mod task;
pub mod task_learner;
mod teacher;
#[cfg(test)]
mod testing;
pub mod trainer;
pub mod verb;

pub use error::{ERRORS, Error, Result};
pub use refusal::Refusal;
pub use runner::{Outcome, RunOptions, run};
