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
//! - [`Model`] is a model as objectives see it, whatever its modality: a list of [`Capabilities`].
//! - Objectives (`kiln-objectives`) turn a model and a batch into a [`Loss`] with its
//!   [`Diagnostic`]s. What one asks for is a [`Need`], which the plan of a model [`Provide`]s.
//! - [`Seed`] derives every random number of a run from one.
//! - [`pattern`] chooses parameters and modules by name.
//! - [`blame`] attributes errors to the user or to the machine.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod capabilities;
mod corruption;
mod layout;
mod loss;
mod need;
pub mod pattern;
mod permutation;
mod step;
mod tokens;

pub use capabilities::{
    BottleneckDecode, Capabilities, Completions, Denoise, Discriminate, EmbedGroups, Encode,
    EncodePermuted, HiddenStates, Labelled, Language, Model, PredictTokens, PredictValue,
    PretextTasks, Quantize, Rank, Ratings,
};
pub use corruption::{Corruption, DecoderInput, RandomReplacement, SourceTarget};
#[cfg(feature = "testing")]
pub use kiln_host::testing;
pub use kiln_host::{
    MixtureError, MixtureSchedule, MixtureSource, Phase, Rng, Sampler, Seed, Size, Source, blame,
};
pub use kiln_kernels::{AttentionVisibility, AutodiffBackend, Backend};
pub use layout::{HostBatch, Layout};
pub use loss::{Diagnostic, DiagnosticValue, Loss, LossMean, TaskLoss};
pub use need::{Lack, Need, Provide, check_bidirectional};
pub use permutation::{PermutedSequence, PlaceVisibility};
pub use step::{StepContext, Teacher};
pub use tokens::{Quantized, TokenTargets, Tokens, members_of_groups};
