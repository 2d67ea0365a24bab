//! Rotary position embeddings in the `config.json` of published decoders.

use kiln_hub::family::refuse;
use kiln_nn::{ConfigError, Llama3Scaling, RotaryConfig, RotaryScaling, YarnScaling};
use serde::{Deserialize, Serialize};

/// The keys of rotary position embeddings: everything in one place, or the base apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RopeKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<Rope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_parameters: Option<Rope>,
}

/// Rotary positions, in the spelling of either version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rope {
    #[serde(alias = "type", skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_fast: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_slow: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_factor: Option<f64>,
    #[serde(skip_serializing)]
    mscale: Option<f64>,
    #[serde(skip_serializing)]
    mscale_all_dim: Option<f64>,
    #[serde(skip_serializing)]
    truncate: Option<bool>,
}

impl RopeKeys {
    /// Our configuration; `longest` is the model's `max_position_embeddings`.
    pub(super) fn rotary(&self, longest: usize) -> Result<RotaryConfig, ConfigError> {
        let rope = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let rope = rope.cloned().unwrap_or_default();
        let need = |key: &str, value: Option<f64>| {
            value.ok_or_else(|| ConfigError::new(format!("rope.{key}"), "missing", "a number"))
        };
        let scaling = match rope.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => Some(RotaryScaling::Linear(need("factor", rope.factor)?)),
            Some("llama3") => Some(RotaryScaling::Llama3(Llama3Scaling {
                factor: need("factor", rope.factor)?,
                low: need("low_freq_factor", rope.low_freq_factor)?,
                high: need("high_freq_factor", rope.high_freq_factor)?,
                context: rope.original_max_position_embeddings.unwrap_or(longest),
            })),
            Some("yarn") => Some(RotaryScaling::Yarn(rope.yarn(longest)?)),
            Some(other) => {
                return Err(ConfigError::new(
                    "rope_type",
                    other,
                    "default, linear, llama3 or yarn",
                ));
            }
        };
        let base = rope.rope_theta.or(self.rope_theta).unwrap_or(10_000.0);
        Ok(RotaryConfig { base, local_base: None, scaling })
    }

    /// Their keys of our configuration, and `max_position_embeddings` where that follows.
    pub(super) fn of(rotary: &RotaryConfig) -> (Self, Option<usize>) {
        let mut rope = Rope {
            rope_type: Some("default".into()),
            rope_theta: Some(rotary.base),
            ..Rope::default()
        };
        let mut longest = None;
        match &rotary.scaling {
            None => {}
            Some(RotaryScaling::Linear(factor)) => {
                rope = Rope { rope_type: Some("linear".into()), factor: Some(*factor), ..rope };
            }
            Some(RotaryScaling::Llama3(bands)) => {
                rope = Rope {
                    rope_type: Some("llama3".into()),
                    factor: Some(bands.factor),
                    low_freq_factor: Some(bands.low),
                    high_freq_factor: Some(bands.high),
                    original_max_position_embeddings: Some(bands.context),
                    ..rope
                };
            }
            Some(RotaryScaling::Yarn(bands)) => {
                longest = Some((bands.factor * bands.context as f64).round() as usize);
                rope = Rope {
                    rope_type: Some("yarn".into()),
                    factor: Some(bands.factor),
                    original_max_position_embeddings: Some(bands.context),
                    beta_fast: Some(bands.fast),
                    beta_slow: Some(bands.slow),
                    attention_factor: bands.magnitude,
                    ..rope
                };
            }
        }
        (Self { rope_parameters: Some(rope), ..Self::default() }, longest)
    }
}

impl Rope {
    /// Bands of YaRN, which `transformers` tells of as Qwen2.5 and DeepSeek do.
    fn yarn(&self, longest: usize) -> Result<YarnScaling, ConfigError> {
        refuse(&[
            ("rope.truncate", self.truncate != Some(false), "true"),
            ("rope.mscale", self.mscale.is_none() && self.mscale_all_dim.is_none(), "absent"),
        ])?;
        let context = self.original_max_position_embeddings.unwrap_or(longest);
        Ok(YarnScaling {
            factor: self.factor.unwrap_or(longest as f64 / context.max(1) as f64),
            context,
            fast: self.beta_fast.unwrap_or(32.0),
            slow: self.beta_slow.unwrap_or(1.0),
            magnitude: self.attention_factor,
        })
    }
}
