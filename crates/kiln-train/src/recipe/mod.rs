//! Recipes: one TOML file says what a run does.
//!
//! What all modalities share stands here; a modality fills in [`ModalitySpec`]: its data, model,
//! objectives and evaluation. Keys are snake_case, names of things kebab-case, and a choice is a
//! table named after it:
//!
//! ```toml
//! name = "example"
//! modality = "timeseries"
//!
//! [[stage]]
//! steps = 1000
//! objective.supervised = {}
//! optimizer.adamw = { learning_rate = 1e-3 }
//! schedule.cosine = { warmup = 100 }
//! ```

mod contents;
mod error;
mod optimizer;
mod parse;
mod problem;
mod schema;
mod spans;
#[cfg(test)]
mod testing;
mod text;
mod validate;
mod variants;

pub use contents::{
    Common, Decay, Device, Init, InitPart, ModalitySpec, Precision, Recipe, RecipeText,
    ResetEmbeddings, Schedule, SharedOnly, StableDecay, Stage, Warmup,
};
pub use error::RecipeError;
pub use optimizer::{Adafactor, AdamW, Lion, Muon, Optimizer, Sgd};
pub use parse::{modality, parse, resolved};
pub use problem::Problem;
pub use schema::schema;
pub(crate) use spans::join_key;
pub use variants::Variant;
