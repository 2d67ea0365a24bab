//! Our own layout: adapters that cannot be part of the weights.

use super::files::FOLDER;
use crate::{HubError, Mode, ModelError, Result, Weights, apply, json_file, module::names};
use burn::module::Module;
use kiln_core::Backend;
use kiln_nn::adapt::{self, Adapt, AdaptConfig};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

const CONFIG: &str = "kiln_adapter.json";
const WEIGHTS: &str = "kiln_adapter.safetensors";

/// Our own configuration.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    /// In the order in which they were put into the model.
    adapters: Vec<AdaptConfig>,
}

/// Puts the adapters that lie in a model directory into the model that was made of it; what they
/// are, or none.
///
/// # Errors
/// When they cannot be read or do not fit the model.
pub fn attach<B: Backend, M: Module<B> + Adapt<B>>(
    dir: &Path,
    model: &mut M,
    device: &B::Device,
) -> std::result::Result<Vec<AdaptConfig>, ModelError> {
    let folder = dir.join(FOLDER);
    if !folder.join(CONFIG).exists() {
        return Ok(Vec::new());
    }
    let own: Own = json_file::read_json(&folder.join(CONFIG))?;
    let before = names(model);
    for config in &own.adapters {
        adapt::insert(model, config, device).map_err(ModelError::in_file(&folder, CONFIG))?;
    }
    let weights = Weights::read_file(&folder.join(WEIGHTS))?;
    let mut report = apply::<B, _>(model, &weights, Mode::Lenient)?;
    report.missing.retain(|name| !before.contains(name));
    if report.is_complete() {
        return Ok(own.adapters);
    }
    Err(HubError::Mismatch(Box::new(report)).into())
}

/// Writes adapters and their weights, in our names, into a model directory.
///
/// # Errors
/// When they cannot be written.
pub fn write(dir: &Path, adapters: Vec<AdaptConfig>, weights: &Weights) -> Result<()> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).map_err(HubError::io("create", &folder))?;
    json_file::write_json(&folder.join(CONFIG), &Own { adapters })?;
    weights.write(&folder.join(WEIGHTS))
}
