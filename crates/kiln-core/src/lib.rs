//! What every modality shares.
//!
//! The way through Kiln is one line, and this crate names its stations:
//!
//! ```text
//! Source ─> Example ─ collate ─> Batch ─ frontend ─> Tokens ─ backbone ─> Tokens ─ objective ─> Loss
//!                                                                            └ head ─> prediction
//! ```
//!
//! - [`Source`] yields examples by index; [`Sampler`] decides which index comes when.
//! - [`MixtureSource`] mixes sources by weights that change as a run goes on.
//! - [`Tokens`] is what a frontend makes and a backbone transforms.
//! - [`TokenModel`] is a model as objectives see it, whatever its modality.
//! - Objectives (`kiln-objectives`) make of a model and a batch a [`Loss`] with its vital [`Sign`]s.
//! - [`Seed`] derives every random number of a run from one.
//! - [`pattern`] chooses parameters and modules by name.
//! - [`blame`] attributes errors to the user or to the machine.
//! - [`bootstrap()`] says how sure a corpus's number is.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod blame;
mod bootstrap;
mod loss;
mod mixture;
mod objective;
pub mod pattern;
mod seed;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tokens;

pub use bootstrap::{Interval, bootstrap, bootstrap_mean};
pub use kiln_kernels::{AutodiffBackend, Backend};
pub use loss::{Loss, LossMean, Sign, SignValue, TaskLoss};
pub use mixture::{Mixture, MixtureError, MixtureSource, Phase};
pub use objective::{
    Arrangement, Disguise, Layout, Rewrite, Shown, StepContext, Teacher, TokenModel, View,
};
pub use seed::{Rng, Seed};
pub use source::{Sampler, Size, Source};
pub use tokens::{Quantised, Targets, Tokens};
