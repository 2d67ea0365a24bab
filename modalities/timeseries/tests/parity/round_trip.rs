//! What was read is written again: for us, bit for bit, and for the reference's own library.

use burn_flex::Flex;
use kiln_hub::ModelDir;
use kiln_timeseries::hub::{load_model, save_model};
use serde_json::Value;
use std::{path::Path, process::Command};

/// Loads, saves, and compares names, types, shapes and bytes with the original file.
pub fn round_trip(dir: &Path, failures: &mut Vec<String>) {
    let (model, config) = load_model::<Flex>(dir, &Default::default()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    save_model(&model, &config, copy.path()).unwrap();
    let read_bytes = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    let (theirs, ours) = (read_bytes(dir), read_bytes(copy.path()));
    let theirs = safetensors::SafeTensors::deserialize(&theirs).unwrap();
    let ours = safetensors::SafeTensors::deserialize(&ours).unwrap();
    let sorted = |file: &safetensors::SafeTensors<'_>| {
        let mut names: Vec<String> = file.names().into_iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    if sorted(&theirs) != sorted(&ours) {
        failures.push(format!("{}: wrote {:?}", dir.display(), sorted(&ours)));
        return;
    }
    for name in sorted(&theirs) {
        let (a, b) = (theirs.tensor(&name).unwrap(), ours.tensor(&name).unwrap());
        if a.dtype() != b.dtype() || a.shape() != b.shape() || a.data() != b.data() {
            failures.push(format!("{}: {name} changed on its way through", dir.display()));
        }
    }
    let written = ModelDir::open(copy.path()).unwrap().config;
    let original = ModelDir::open(dir).unwrap().config;
    same_config(dir, &original, &written, failures);
    let (_, again) = load_model::<Flex>(copy.path(), &Default::default()).unwrap();
    assert_eq!(again, config, "the configuration goes there and back");
    if let Ok(python) = std::env::var("KILN_PYTHON") {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_model_dir.py");
        let output = Command::new(python).arg(script).arg(copy.path()).arg(dir).output().unwrap();
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("{}: Python refuses what was written: {message}", dir.display()));
        }
    }
}

/// What we write says the same as what we read, key by key.
fn same_config(dir: &Path, original: &Value, written: &Value, failures: &mut Vec<String>) {
    let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-12,
        _ => a == b,
    };
    for (key, value) in written.as_object().unwrap() {
        // Equivalent spellings.
        let known = matches!(
            key.as_str(),
            "scaling"
                | "prediction_channel_indices"
                | "pooling_type"
                | "loss"
                | "activation_function"
        ) || (key == "context_length"
            && original.get("masked_context_length").is_some_and(Value::is_u64));
        if let Some(theirs) = original.get(key)
            && !known
            && !same(theirs, value)
            && matters(key, original)
        {
            failures.push(format!("{}: {key} was {theirs}, written as {value}", dir.display()));
        }
    }
}

/// Whether a key has an effect, given the others.
fn matters(key: &str, config: &Value) -> bool {
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    match key {
        "self_attn_heads" => on("self_attn"),
        "positional_encoding_type" => {
            config.get("use_positional_encoding").is_none() || on("use_positional_encoding")
        }
        "frequency_token_vocab_size" => on("resolution_prefix_tuning"),
        "exogenous_channel_indices" => on("enable_forecast_channel_mixing"),
        "fcm_mix_layers" => on("fcm_use_mixer"),
        "distribution_output" => config.get("loss").and_then(Value::as_str) == Some("nll"),
        "share_projection" | "head_dropout" => true,
        _ if key.starts_with("fcm_") => on("enable_forecast_channel_mixing"),
        _ if key.starts_with("decoder_") => on("use_decoder"),
        "quantile" | "huber_delta" => false,
        _ => true,
    }
}
