//! How fast queries and keys turn with their positions.

use crate::ConfigError;
use kiln_kernels::rotary_frequencies;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Rotary positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotaryConfig {
    /// The slowest pair of features turns by about one radian in so many tokens.
    pub base: f64,
    /// The same in blocks that see a window only; as elsewhere if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_base: Option<f64>,
    /// How a model is stretched over a longer context than it was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RotaryScaling>,
}

impl Default for RotaryConfig {
    fn default() -> Self {
        Self { base: 10_000.0, local_base: None, scaling: None }
    }
}

/// How rotary positions are stretched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RotaryScaling {
    /// All pairs turn so many times slower, <https://arxiv.org/abs/2306.15595>.
    Linear(f64),
    /// Slow pairs turn slower, fast ones as before, those between in between: Llama 3.1,
    /// <https://arxiv.org/abs/2407.21783>.
    Llama3(Llama3Scaling),
}

/// The three bands of [`RotaryScaling::Llama3`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Llama3Scaling {
    /// How many times slower slow pairs turn.
    pub factor: f64,
    /// Slow pairs turn less often than this in the original context.
    pub low: f64,
    /// Fast pairs turn more often than this in the original context.
    pub high: f64,
    /// Tokens of the original context.
    pub context: usize,
}

impl RotaryConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let above = |key: &str, value: f64, least: f64| {
            if value > least && value.is_finite() {
                return Ok(());
            }
            Err(ConfigError::new(key, value, format!("above {least}")))
        };
        above("base", self.base, 1.0)?;
        above("local_base", self.local_base.unwrap_or(self.base), 1.0)?;
        match &self.scaling {
            Some(RotaryScaling::Linear(factor)) => above("scaling.linear", *factor, 0.0),
            Some(RotaryScaling::Llama3(bands)) => {
                above("scaling.llama3.factor", bands.factor, 0.0)?;
                above("scaling.llama3.low", bands.low, 0.0)?;
                above("scaling.llama3.high", bands.high, bands.low)?;
                ConfigError::positive("scaling.llama3.context", bands.context)
            }
            None => Ok(()),
        }
    }

    /// Radians a token, for each pair of a head of `width` features.
    pub(crate) fn frequencies(&self, width: usize, local: bool) -> Vec<f64> {
        let base = if local { self.local_base.unwrap_or(self.base) } else { self.base };
        let mut frequencies = rotary_frequencies(width, base);
        for frequency in &mut frequencies {
            *frequency = match &self.scaling {
                None => *frequency,
                Some(RotaryScaling::Linear(factor)) => *frequency / factor,
                Some(RotaryScaling::Llama3(bands)) => bands.scale(*frequency),
            };
        }
        frequencies
    }
}

impl Llama3Scaling {
    fn scale(&self, frequency: f64) -> f64 {
        let turns = self.context as f64 * frequency / TAU;
        let kept = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_of_llama_3() {
        let bands = Llama3Scaling { factor: 8.0, low: 1.0, high: 4.0, context: 100 };
        let per_turn = TAU / 100.0;
        assert_eq!(bands.scale(0.5 * per_turn), 0.5 * per_turn / 8.0);
        assert_eq!(bands.scale(5.0 * per_turn), 5.0 * per_turn);
        // In the middle of the band, half of each.
        let middle = bands.scale(2.5 * per_turn) / per_turn;
        assert!((middle - 2.5 * (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn blocks_with_a_window_may_turn_otherwise() {
        let config = RotaryConfig { base: 100.0, local_base: Some(10.0), scaling: None };
        config.validate().unwrap();
        assert!((config.frequencies(4, false)[1] - 0.1).abs() < 1e-12);
        assert!((config.frequencies(4, true)[1] - 10f64.powf(-0.5)).abs() < 1e-12);
        let config = RotaryConfig { scaling: Some(RotaryScaling::Linear(0.0)), ..config };
        assert_eq!(config.validate().unwrap_err().key, "scaling.linear");
    }
}
