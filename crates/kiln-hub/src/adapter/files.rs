//! Names of the files of adapters.

/// Where adapters lie in a model directory.
pub const FOLDER: &str = "adapter";
/// PEFT's configuration.
pub const PEFT_CONFIG: &str = "adapter_config.json";
/// PEFT's weights.
pub const PEFT_WEIGHTS: &str = "adapter_model.safetensors";
