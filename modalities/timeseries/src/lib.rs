//! Time series: forecasting models, their data, training and evaluation.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod batch;
pub mod capabilities;
mod commands;
pub mod config;
pub mod cost;
pub mod data;
pub mod evaluate;
pub mod forecast;
pub mod forecaster;
pub mod frontend;
pub mod head;
pub mod hub;
pub mod job;
mod language;
pub mod measure;
pub mod modality;
pub mod model;
pub mod model_forecaster;
pub mod patch;
pub mod plot;
pub mod portfolio;
pub mod predict;
pub mod presets;
mod provide;
pub mod recipe;
pub mod scaler;
#[cfg(test)]
mod testing;
pub mod windows;

pub use batch::{BatchError, SeriesBatch, SeriesHostBatch};
pub use config::{DecoderConfig, SeriesModelConfig, resolution_id};
pub use modality::TIMESERIES;
pub use model::{SeriesForecast, SeriesModel};
pub use presets::Preset;
