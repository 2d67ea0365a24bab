//! Reversible instance normalisation: each channel of each window is scaled by its own
//! statistics, and forecasts are scaled back, <https://openreview.net/forum?id=cGDAkQo1C0p>.

use burn::tensor::{Bool, Tensor};
use kiln_core::Backend;
use kiln_nn::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How windows are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScalerConfig {
    /// Which statistics.
    pub kind: ScalerKind,
    /// What the network sees where a value is missing.
    pub missing: MissingFill,
    /// Keeps the scale from zero: added to the variance, or the least mean magnitude. 1e-5 and
    /// 1e-10 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
}

impl Default for ScalerConfig {
    fn default() -> Self {
        Self { kind: ScalerKind::Std, missing: MissingFill::Zero, epsilon: None }
    }
}

/// The statistics by which a channel of a window is scaled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScalerKind {
    /// Mean and standard deviation of the observed values.
    #[default]
    Std,
    /// The mean magnitude of the observed values; nothing is subtracted.
    Mean,
    /// None: values are taken as they are.
    None,
    /// Mean and standard deviation of the first observed values, as many as this many patches
    /// hold. What a token is scaled by then does not tell of tokens after these, which
    /// autoregressive training needs.
    Prefix(usize),
}

/// What the network sees where a value is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MissingFill {
    /// Zero after scaling: the mean of what was observed.
    #[default]
    Zero,
    /// Zero before scaling, then scaled like any value: as in the published models.
    Raw,
}

/// Scaled values and how to undo it.
#[derive(Clone, Debug)]
pub struct Scaled<B: Backend> {
    /// `[batch, rows, channels]`
    pub values: Tensor<B, 3>,
    /// `[batch, 1, channels]`, what was subtracted.
    pub loc: Tensor<B, 3>,
    /// `[batch, 1, channels]`, what it was then divided by.
    pub scale: Tensor<B, 3>,
}

impl ScalerConfig {
    /// Whether its statistics leave out what comes after the first patches.
    pub fn is_causal(&self) -> bool {
        matches!(self.kind, ScalerKind::None | ScalerKind::Prefix(_))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a prefix is empty or epsilon not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.kind == ScalerKind::Prefix(0) {
            return Err(ConfigError::new("kind.prefix", 0, "at least 1 patch"));
        }
        match self.epsilon {
            Some(epsilon) if !(epsilon > 0.0 && epsilon.is_finite()) => {
                Err(ConfigError::new("epsilon", epsilon, "a positive number"))
            }
            _ => Ok(()),
        }
    }

    /// Scales `past` `[batch, rows, channels]`; `missing` is true where a value is missing, and
    /// `patch` is the length of a patch in rows.
    pub fn scale<B: Backend>(
        &self,
        past: Tensor<B, 3>,
        missing: Option<&Tensor<B, 3, Bool>>,
        patch: usize,
    ) -> Scaled<B> {
        let (loc, scale) = match self.kind {
            ScalerKind::Std => self.deviations(&past, missing.map(observed)),
            ScalerKind::Mean => self.magnitudes(&past, missing),
            ScalerKind::None => {
                let [batch, _, channels] = past.dims();
                let device = past.device();
                (
                    Tensor::zeros([batch, 1, channels], &device),
                    Tensor::ones([batch, 1, channels], &device),
                )
            }
            ScalerKind::Prefix(patches) => {
                let seen = missing.map_or_else(|| past.ones_like(), observed);
                // The first values observed, wherever a short series begins.
                let early = seen.clone().cumsum(1).lower_equal_elem((patches * patch) as f64);
                let (loc, scale) = self.deviations(&past, Some(seen * early.float()));
                // A flat beginning must not blow up what follows.
                let floor = loc.clone().abs().mul_scalar(0.01);
                (loc, scale.max_pair(floor))
            }
        };
        let mut values = (past - loc.clone()) / scale.clone();
        if let (MissingFill::Zero, Some(missing)) = (self.missing, missing) {
            values = values.mask_fill(missing.clone(), 0.0);
        }
        Scaled { values, loc, scale }
    }

    /// Mean and root of variance plus epsilon, over rows where `weight` is one.
    fn deviations<B: Backend>(
        &self,
        past: &Tensor<B, 3>,
        weight: Option<Tensor<B, 3>>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let epsilon = self.epsilon.unwrap_or(1e-5);
        let Some(weight) = weight else {
            let loc = past.clone().mean_dim(1);
            let variance = (past.clone() - loc.clone()).square().mean_dim(1);
            return (loc, variance.add_scalar(epsilon).sqrt());
        };
        let count = weight.clone().sum_dim(1).clamp_min(1.0);
        let loc = (past.clone() * weight.clone()).sum_dim(1) / count.clone();
        let variance = ((past.clone() - loc.clone()) * weight).square().sum_dim(1) / count;
        (loc, variance.add_scalar(epsilon).sqrt())
    }

    /// Zero and the mean magnitude; a channel never observed takes its mean over the batch.
    fn magnitudes<B: Backend>(
        &self,
        past: &Tensor<B, 3>,
        missing: Option<&Tensor<B, 3, Bool>>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let weight = missing.map_or_else(|| past.ones_like(), observed);
        let sum = (past.clone() * weight.clone()).abs().sum_dim(1);
        let count = weight.sum_dim(1);
        let own = sum.clone() / count.clone().clamp_min(1.0);
        let shared = sum.sum_dim(0) / count.clone().sum_dim(0).clamp_min(1.0);
        let scale = own.clone().mask_where(count.equal_elem(0.0), shared.expand(own.shape()));
        (scale.zeros_like(), scale.clamp_min(self.epsilon.unwrap_or(1e-10)))
    }
}

/// One where a value was observed.
fn observed<B: Backend>(missing: &Tensor<B, 3, Bool>) -> Tensor<B, 3> {
    missing.clone().bool_not().float()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    type T = Tensor<Flex, 3>;

    fn rows(values: &[f32]) -> T {
        Tensor::<Flex, 1>::from_floats(values, &Default::default()).reshape([1, values.len(), 1])
    }

    fn host(x: T) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    fn close(found: Vec<f32>, expected: &[f32]) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-3, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn std_leaves_missing_values_out() {
        let past = rows(&[1.0, 3.0, 0.0]);
        let missing =
            Tensor::<Flex, 3, Bool>::from_data([[[false], [false], [true]]], &Default::default());
        let scaler = ScalerConfig::default();
        let scaled = scaler.scale(past.clone(), Some(&missing), 1);
        close(host(scaled.values), &[-1.0, 1.0, 0.0]);
        close(host(scaled.loc), &[2.0]);
        close(host(scaled.scale), &[1.0]);
        let raw = ScalerConfig { missing: MissingFill::Raw, ..scaler };
        close(host(raw.scale(past, Some(&missing), 1).values), &[-1.0, 1.0, -2.0]);
    }

    #[test]
    fn mean_divides_by_the_magnitude() {
        let scaler = ScalerConfig { kind: ScalerKind::Mean, ..Default::default() };
        let scaled = scaler.scale(rows(&[-1.0, 3.0]), None, 1);
        close(host(scaled.values), &[-0.5, 1.5]);
        close(host(scaled.loc), &[0.0]);
    }

    #[test]
    fn a_prefix_does_not_know_the_rest() {
        let scaler = ScalerConfig { kind: ScalerKind::Prefix(1), ..Default::default() };
        let scale = |last| host(scaler.scale(rows(&[1.0, 3.0, 9.0, last]), None, 2).scale);
        assert_eq!(scale(0.0), scale(100.0));
        // Two missing rows first: the prefix starts where the series does.
        let missing = Tensor::<Flex, 3, Bool>::from_data(
            [[[true], [true], [false], [false]]],
            &Default::default(),
        );
        let scaled = scaler.scale(rows(&[0.0, 0.0, 4.0, 6.0]), Some(&missing), 2);
        close(host(scaled.loc), &[5.0]);
        close(host(scaled.scale), &[1.0]);
    }

    #[test]
    fn none_changes_nothing() {
        let scaler = ScalerConfig { kind: ScalerKind::None, ..Default::default() };
        close(host(scaler.scale(rows(&[2.0, 5.0]), None, 1).values), &[2.0, 5.0]);
    }

    #[test]
    fn settings_are_checked() {
        let empty = ScalerConfig { kind: ScalerKind::Prefix(0), ..Default::default() };
        assert_eq!(empty.validate().unwrap_err().key, "kind.prefix");
        let negative = ScalerConfig { epsilon: Some(-1.0), ..Default::default() };
        assert_eq!(negative.validate().unwrap_err().key, "epsilon");
    }
}
