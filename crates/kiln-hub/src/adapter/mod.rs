//! Adapters in files.
//!
//! A model that was adapted is written with all that can be made part of its weights. Beside it
//! lies `adapter/`:
//!
//! ```text
//! adapter_config.json, adapter_model.safetensors    in PEFT's layout, where that can express it
//! kiln_adapter.json, kiln_adapter.safetensors       what cannot be part of the weights
//! ```
//!
//! [`attach`] puts the latter into a model again. A directory of PEFT's that is given as a model is
//! its base with the adapter merged, see [`crate::ModelDir`].

mod files;
mod kiln;
mod peft_read;
mod peft_write;
#[cfg(test)]
mod tests;

pub use files::{FOLDER, PEFT_CONFIG, PEFT_WEIGHTS};
pub use kiln::{attach, write};
pub(crate) use peft_read::{Peft, is_peft};
pub use peft_write::{Published, write_peft};
