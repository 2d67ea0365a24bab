//! Families of published models: `config.json` and the names of weights, as Hugging Face's classes
//! have them, and model directories in their layout or in our own.

mod config;
mod contract;
mod directory;
mod json;

pub use contract::{AnyFamily, Family, NoExtras, PublishedConfig, Row, Unreadable};
pub use directory::{config_json, load, model_types, names, published, read, read_config, save};
pub use json::{class, family_json, known_class, refuse};
