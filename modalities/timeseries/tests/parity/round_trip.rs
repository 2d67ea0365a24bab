//! What was read is written again: for us, bit for bit, and for the reference's own library.

use burn_flex::Flex;
use kiln_hub::{
    ModelDir,
    family::save,
    testing::{python_reads, same_weights},
};
use kiln_timeseries::hub::load_model;
use serde_json::Value;
use std::path::Path;

/// Loads, saves, and compares names, types, shapes and bytes with the original file.
pub fn round_trip(dir: &Path, failures: &mut Vec<String>) {
    let (model, config) = load_model::<Flex>(dir, &Default::default()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    save::<Flex, _>(copy.path(), &config, &model).unwrap();
    same_weights(dir, copy.path(), str::to_owned, failures);
    let written = ModelDir::open(copy.path()).unwrap().config;
    let original = ModelDir::open(dir).unwrap().config;
    same_config(dir, &original, &written, failures);
    let (_, again) = load_model::<Flex>(copy.path(), &Default::default()).unwrap();
    assert_eq!(again, config, "the configuration goes there and back");
    python_reads(dir, copy.path(), failures);
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
