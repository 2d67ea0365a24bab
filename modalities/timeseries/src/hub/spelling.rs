//! How the published families spell what our configuration says in types.

use crate::{
    frontend::Positions,
    head::distribution::Distribution,
    scaler::{MissingFill, ScalerConfig, ScalerKind},
};
use kiln_nn::{ConfigError, NormConfig, NormKind};
use serde::Serializer;
use serde_json::{Value, json};

/// A norm that families know: layer or batch norm with the usual momentum.
pub(super) fn plain_norm(norm: &NormConfig) -> bool {
    norm.kind != NormKind::Rms && norm.momentum == NormConfig::default().momentum
}

/// Which distribution a name stands for.
pub(super) fn distribution(name: &str) -> Result<Distribution, ConfigError> {
    match name {
        "student_t" => Ok(Distribution::StudentT),
        "normal" => Ok(Distribution::Normal),
        "negative_binomial" => Ok(Distribution::NegativeBinomial),
        other => {
            let expected = "student_t, normal or negative_binomial";
            Err(ConfigError::new("distribution_output", other, expected))
        }
    }
}

/// The name of a distribution.
pub(super) fn distribution_name(distribution: Option<Distribution>) -> &'static str {
    match distribution {
        Some(Distribution::Normal) => "normal",
        Some(Distribution::NegativeBinomial) => "negative_binomial",
        Some(Distribution::StudentT) | None => "student_t",
    }
}

/// What `scaling` stands for; `true` differs from family to family.
pub(super) fn scaler(
    scaling: &Value,
    of_true: ScalerKind,
    epsilon: Option<f64>,
    default_scale: &Option<Value>,
) -> Result<ScalerConfig, ConfigError> {
    if let Some(scale) = default_scale.as_ref().filter(|scale| !scale.is_null()) {
        return Err(ConfigError::new("default_scale", scale, "null"));
    }
    let kind = match scaling {
        Value::Bool(true) => of_true,
        Value::Bool(false) | Value::Null => ScalerKind::None,
        Value::String(name) if name == "std" => ScalerKind::Std,
        Value::String(name) if name == "mean" => ScalerKind::Mean,
        other => {
            return Err(ConfigError::new(
                "scaling",
                other,
                "\"std\", \"mean\", true, false or null",
            ));
        }
    };
    Ok(ScalerConfig { kind, missing: MissingFill::Raw, epsilon })
}

/// The value of `scaling`, for scalers that families know.
pub(super) fn scaling(scaler: &ScalerConfig) -> Option<Value> {
    if scaler.epsilon.is_some() {
        return None;
    }
    match scaler.kind {
        ScalerKind::Std => Some(json!("std")),
        ScalerKind::Mean => Some(json!("mean")),
        ScalerKind::None => Some(Value::Null),
        ScalerKind::Prefix(_) => None,
    }
}

/// Whether a mode mixes channels.
pub(super) fn mixes_channels(key: &str, mode: &str) -> Result<bool, ConfigError> {
    match mode {
        "common_channel" => Ok(false),
        "mix_channel" => Ok(true),
        other => Err(ConfigError::new(key, other, "common_channel or mix_channel")),
    }
}

/// The mode that mixes channels or not.
pub(super) fn mode(mixes_channels: bool) -> String {
    if mixes_channels { "mix_channel" } else { "common_channel" }.into()
}

/// The norm of a name.
pub(super) fn norm(name: &str, epsilon: f64) -> NormConfig {
    let batch = name.to_lowercase().contains("batch");
    NormConfig { epsilon, ..NormConfig::new(if batch { NormKind::Batch } else { NormKind::Layer }) }
}

/// The name of a norm.
pub(super) fn norm_name(norm: &NormConfig) -> String {
    if norm.kind == NormKind::Batch { "BatchNorm" } else { "LayerNorm" }.into()
}

/// The positions of a switch and a name.
pub(super) fn positions(used: bool, name: &str) -> Result<Positions, ConfigError> {
    match name {
        _ if !used => Ok(Positions::None),
        "sincos" => Ok(Positions::Sincos),
        "random" => Ok(Positions::Learned),
        other => Err(ConfigError::new("positional_encoding_type", other, "sincos or random")),
    }
}

/// The name of positions, whether used or not.
pub(super) fn positions_name(positions: Positions) -> String {
    if positions == Positions::Learned { "random" } else { "sincos" }.into()
}

/// Channel numbers in rising order.
pub(super) fn sorted(channels: &Option<Vec<usize>>) -> Option<Vec<usize>> {
    channels.clone().map(|mut channels| {
        channels.sort_unstable();
        channels
    })
}

/// Writes a key that they type as an integer.
pub(super) fn whole<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(*value as i64)
}
