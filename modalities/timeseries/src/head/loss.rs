//! Losses of forecasts, value by value.

use super::distribution::Distribution;
use burn::tensor::Tensor;
use kiln_core::Backend;
use kiln_nn::ConfigError;
use kiln_objectives::losses::huber;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the point forecast is trained for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointLoss {
    /// Mean squared error: the point is the mean.
    #[default]
    Mse,
    /// Mean absolute error: the point is the median.
    Mae,
    /// Squared up to `delta`, absolute beyond.
    Huber {
        /// Where it changes.
        delta: f64,
    },
    /// The pinball loss: the point is this quantile.
    Quantile {
        /// Its level, between 0 and 1.
        level: f64,
    },
    /// Negative log likelihood: the head forecasts a distribution, the point is its centre.
    Nll {
        /// Of which family.
        distribution: Distribution,
    },
}

/// In which units errors are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Units {
    /// Scaled by each window's statistics, so that all series count alike.
    #[default]
    Scaled,
    /// Those of the data.
    Data,
}

impl PointLoss {
    /// The distribution that the head forecasts, if it does.
    pub fn distribution(self) -> Option<Distribution> {
        match self {
            Self::Nll { distribution } => Some(distribution),
            _ => None,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(self) -> Result<(), ConfigError> {
        match self {
            Self::Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                Err(ConfigError::new("huber.delta", delta, "a positive number"))
            }
            Self::Quantile { level } if !(level > 0.0 && level < 1.0) => {
                Err(ConfigError::new("quantile.level", level, "between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// The loss of each error, target minus forecast, of any shape. A likelihood is no function of
    /// the error alone; its square stands in.
    pub fn of_error<B: Backend, const D: usize>(self, error: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Mse | Self::Nll { .. } => error.square(),
            Self::Mae => error.abs(),
            Self::Huber { delta } => huber(error, delta),
            Self::Quantile { level } => pinball(error, level),
        }
    }
}

/// The pinball loss of errors, target minus forecast, at a level.
pub fn pinball<B: Backend, const D: usize>(error: Tensor<B, D>, level: f64) -> Tensor<B, D> {
    error.clone().mul_scalar(level).max_pair(error.mul_scalar(level - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn losses_of_two_errors_by_hand() {
        let of = |loss: PointLoss| -> Vec<f32> {
            let errors = Tensor::<Flex, 1>::from_floats([-2.0, 0.5], &Default::default());
            loss.of_error(errors).into_data().to_vec().unwrap()
        };
        assert_eq!(of(PointLoss::Mse), [4.0, 0.25]);
        assert_eq!(of(PointLoss::Mae), [2.0, 0.5]);
        assert_eq!(of(PointLoss::Huber { delta: 1.0 }), [1.5, 0.125]);
        assert_eq!(of(PointLoss::Quantile { level: 0.75 }), [0.5, 0.375]);
    }

    #[test]
    fn settings_are_checked() {
        assert_eq!(PointLoss::Huber { delta: 0.0 }.validate().unwrap_err().key, "huber.delta");
        assert_eq!(
            PointLoss::Quantile { level: 1.0 }.validate().unwrap_err().key,
            "quantile.level"
        );
    }
}
