//! JSON files of model directories: `config.json` and those beside it.

use crate::{HubError, Result};
use kiln_host::write_atomic;
use serde::{Serialize, de::DeserializeOwned};
use std::{fs, path::Path};

/// The name of a model's configuration.
pub const CONFIG: &str = "config.json";

/// Reads a JSON file.
///
/// # Errors
/// When it cannot be read or is not what was expected; the message names file, line and key.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(HubError::io("read", path))?;
    serde_json::from_str(&text)
        .map_err(|error| HubError::Config { path: path.to_path_buf(), cause: error.to_string() })
}

/// Writes a JSON file, indented, in full or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| HubError::Config { path: path.to_path_buf(), cause: error.to_string() })?;
    text.push('\n');
    Ok(write_atomic(path, |out| out.write_all(text.as_bytes()))?)
}
