//! The host side of Kiln, without tensors: what data sets, tokenizers and metrics build on.
//!
//! - [`Seed`] derives every random number of a run from one.
//! - [`Source`] yields examples by index; [`Sampler`] decides which index comes when.
//! - [`MixtureSource`] mixes sources by weights that change as a run goes on.
//! - [`blame`] attributes errors to the user or to the machine.
//! - [`write_atomic`] and [`AtomicFile`] write files that are there in full or not at all.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod atomic;
pub mod blame;
mod mixture;
mod seed;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use atomic::{AtomicFile, FileError, LEFTOVER, write_atomic};
pub use mixture::{MixtureError, MixtureSchedule, MixtureSource, Phase};
pub use seed::{Rng, Seed};
pub use source::{Sampler, Size, Source};
