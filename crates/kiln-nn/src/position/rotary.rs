//! Rotary position embedding (RoPE), <https://arxiv.org/abs/2104.09864>: frequencies and scaling.

use crate::ConfigError;
use burn::tensor::{Int, Tensor};
use kiln_core::Backend;
use kiln_kernels::{RotaryOptions, rotary, rotary_frequencies};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Configuration of rotary position embedding (RoPE).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotaryConfig {
    /// The slowest pair of features turns by about one radian in so many tokens.
    pub base: f64,
    /// The same in blocks with a sliding window; as in other blocks if absent.
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

/// RoPE scaling, for longer contexts than those trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RotaryScaling {
    /// All pairs turn so many times slower, <https://arxiv.org/abs/2306.15595>.
    Linear(f64),
    /// Slow pairs turn slower, fast ones as before, those between in between: Llama 3.1,
    /// <https://arxiv.org/abs/2407.21783>.
    Llama3(Llama3Scaling),
    /// The same with bands of pairs rather than of turns, and sharper attention: YaRN,
    /// <https://arxiv.org/abs/2309.00071>.
    Yarn(YarnScaling),
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

/// The bands of [`RotaryScaling::Yarn`], and how sharp attention becomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YarnScaling {
    /// How many times slower slow pairs turn.
    pub factor: f64,
    /// Tokens of the original context.
    pub context: usize,
    /// Fast pairs, up to that which turns so often in the original context, turn as before.
    #[serde(default = "fast_turns")]
    pub fast: f64,
    /// Slow pairs, from that which turns so often on, turn slower by the factor.
    #[serde(default = "slow_turns")]
    pub slow: f64,
    /// What queries and keys are multiplied by; a tenth of the factor's logarithm over one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub magnitude: Option<f64>,
}

fn fast_turns() -> f64 {
    32.0
}

fn slow_turns() -> f64 {
    1.0
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
            Some(RotaryScaling::Yarn(bands)) => {
                above("scaling.yarn.factor", bands.factor, 0.0)?;
                above("scaling.yarn.slow", bands.slow, 0.0)?;
                above("scaling.yarn.fast", bands.fast, bands.slow)?;
                above("scaling.yarn.magnitude", bands.magnitude(), 0.0)?;
                ConfigError::positive("scaling.yarn.context", bands.context)
            }
            None => Ok(()),
        }
    }

    /// Radians a token, for each pair of a head of `width` features.
    pub(crate) fn frequencies(&self, width: usize, local: bool) -> Vec<f64> {
        let base = if local { self.local_base.unwrap_or(self.base) } else { self.base };
        let mut frequencies = rotary_frequencies(width, base);
        for (pair, frequency) in frequencies.iter_mut().enumerate() {
            *frequency = match &self.scaling {
                None => *frequency,
                Some(RotaryScaling::Linear(factor)) => *frequency / factor,
                Some(RotaryScaling::Llama3(bands)) => bands.scale(*frequency),
                Some(RotaryScaling::Yarn(bands)) => {
                    *frequency * bands.share(pair as f64, width as f64, base)
                }
            };
        }
        frequencies
    }

    /// What queries and keys are multiplied by as they are turned.
    pub(crate) fn magnitude(&self) -> f64 {
        match &self.scaling {
            Some(RotaryScaling::Yarn(bands)) => bands.magnitude(),
            _ => 1.0,
        }
    }
}

impl Llama3Scaling {
    fn scale(&self, frequency: f64) -> f64 {
        let turns = self.context as f64 * frequency / TAU;
        let kept = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / self.factor)
    }
}

impl YarnScaling {
    /// How fast a pair of a head of `width` features turns, of its speed before.
    fn share(&self, pair: f64, width: f64, base: f64) -> f64 {
        // The pair, as a real number, that turns so often in the original context.
        let pair_of =
            |turns: f64| width * (self.context as f64 / (turns * TAU)).ln() / (2.0 * base.ln());
        let last_fast = pair_of(self.fast).floor().max(0.0);
        let first_slow = pair_of(self.slow).ceil().min(width - 1.0);
        // Bands that meet leave none in between.
        let between = if first_slow == last_fast { 1e-3 } else { first_slow - last_fast };
        let slowed = ((pair - last_fast) / between).clamp(0.0, 1.0);
        slowed / self.factor + 1.0 - slowed
    }

    /// What queries and keys are multiplied by.
    fn magnitude(&self) -> f64 {
        self.magnitude.unwrap_or(1.0 + 0.1 * self.factor.max(1.0).ln())
    }
}

/// Rotary position embedding of queries and keys: the angles of the positions at hand.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    /// `[positions, head_width / 2, 2]`
    pub table: Tensor<B, 3>,
    /// Which row of the table each token has, `[batch, tokens]`; its place if absent.
    pub rows: Option<Tensor<B, 2, Int>>,
}

impl<B: Backend> Rotation<B> {
    /// Rotates the first `heads` of packed heads, `[batch, tokens, heads, head_width]`.
    pub(crate) fn forward(&self, packed: Tensor<B, 4>, heads: usize) -> Tensor<B, 4> {
        let options = RotaryOptions { heads: Some(heads), ..RotaryOptions::default() };
        rotary(packed, self.table.clone(), self.rows.clone(), options)
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
    fn bands_of_yarn() {
        let yarn = YarnScaling { factor: 4.0, context: 100, fast: 8.0, slow: 1.0, magnitude: None };
        let scaling = Some(RotaryScaling::Yarn(yarn));
        let config = RotaryConfig { base: 10.0, local_base: None, scaling };
        config.validate().unwrap();
        // Of four pairs, eight turns are pair 1.19 and one turn is pair 4.81: the first two are kept,
        // the others are a quarter and a half of the way from pair 1 to pair 5.
        let expected = [1.0, 0.562_341, 0.316_228 * 0.812_5, 0.177_828 * 0.625];
        for (found, expected) in config.frequencies(8, false).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert!((config.magnitude() - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12);
        let yarn = YarnScaling { magnitude: Some(1.0), fast: 0.5, ..yarn };
        let config = RotaryConfig { scaling: Some(RotaryScaling::Yarn(yarn)), ..config };
        assert_eq!(config.magnitude(), 1.0);
        assert_eq!(config.validate().unwrap_err().key, "scaling.yarn.fast");
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
