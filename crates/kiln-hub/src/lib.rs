//! Model directories of Hugging Face, in and out.
//!
//! - [`Weights`]: named tensors, of safetensors and (read-only) PyTorch files, verified.
//! - [`names`]: rules that translate parameter names between their world and ours.
//! - [`module`]: named tensors into a Burn module and out of it.
//! - [`json_file`]: `config.json` and other JSON files of a model directory.
//! - [`model_dir`]: a model directory as a whole; finding a model by run, path or hub id.
//! - [`family`]: published families, their `config.json` and names, and tables of them.
//! - [`adapter`]: adapters beside a model, PEFT's among them.
//! - [`download`]: hub ids into the hub's own cache.
//!
//! A weight's way in is [`ModelDir::weights`], [`NameMap::to_ours`], [`apply`]; its way out is
//! [`collect`], [`NameMap::to_theirs`], [`ModelDir::write`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod adapter;
pub mod download;
mod error;
pub mod family;
pub mod json_file;
mod layout;
mod load_report;
pub mod model_dir;
mod model_error;
pub mod module;
pub mod names;
mod pytorch;
mod safetensors_file;
mod tensors;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod weights;

pub use download::{Hub, HubId};
pub use error::{HubError, Result};
pub use layout::{Place, RowBlocks};
pub use load_report::{LoadReport, Mismatch};
pub use model_dir::{ModelDir, resolve};
pub use model_error::ModelError;
pub use module::{Mode, apply, collect, collect_where};
pub use names::{NameMap, Rule};
pub use tensors::{Raw, Weight, Weights};
