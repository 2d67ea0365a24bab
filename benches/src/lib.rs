//! Kiln measured: the models of the comparison with PyTorch, and the process that runs them.
//!
//! Each model is a file of [`models`], put together from the blocks of kiln-nn. `compare` (the
//! binary) loads one with weights and inputs that the Python side wrote, then obeys its lines: see
//! `benches/compare/`, which holds PyTorch's side and prints the table. A step is
//! [`kiln_train::task_learner::TaskLearner`]'s, so it is the one that `kiln run` makes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cross_entropy;
pub mod machine;
pub mod models;
pub mod tensors;
pub mod work;

/// Why a work cannot be done.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What may fail.
pub type Result<T> = std::result::Result<T, Error>;
