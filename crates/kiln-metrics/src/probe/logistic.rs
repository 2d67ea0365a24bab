//! Multinomial logistic regression on standardised features.

use super::lbfgs::minimise;
use super::{check, like_fitted};
use crate::{MetricError, classification::argmax};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a [`LogisticProbe`] is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// The weight of half the squared weights beside the mean loss: scikit-learn's `1 / (C rows)`.
    pub l2: f64,
    /// Steps of L-BFGS at most.
    pub max_iterations: usize,
    /// The largest component of the gradient at which fitting ends.
    pub tolerance: f64,
}

impl Default for ProbeConfig {
    /// A weak penalty: enough that separable classes have an optimum.
    fn default() -> Self {
        Self { l2: 1e-4, max_iterations: 500, tolerance: 1e-6 }
    }
}

/// A multinomial logistic regression: linear in standardised features, fitted to the optimum, so
/// that the same features give the same number.
#[derive(Clone, Debug)]
pub struct LogisticProbe {
    mean: Array1<f64>,
    /// One over the standard deviation; 0 for a feature that is constant.
    scale: Array1<f64>,
    /// `[features, classes]`.
    weights: Array2<f64>,
    bias: Array1<f64>,
    converged: bool,
}

impl LogisticProbe {
    /// Fits features `[rows, features]` to a class a row.
    ///
    /// # Errors
    /// When there are no rows, not as many labels, a label is not below `classes`, a feature is not
    /// finite, or a setting cannot be.
    pub fn fit(
        features: ArrayView2<'_, f32>,
        labels: &[usize],
        classes: usize,
        config: &ProbeConfig,
    ) -> Result<Self, MetricError> {
        check(features, labels, classes)?;
        for (key, value) in [("l2", config.l2), ("tolerance", config.tolerance)] {
            if !(value.is_finite() && value >= 0.0) {
                let expected = "a number of at least 0";
                return Err(MetricError::Setting { key, found: value.to_string(), expected });
            }
        }
        let (rows, width) = features.dim();
        let raw = features.mapv(f64::from);
        let mean = raw.sum_axis(Axis(0)) / rows as f64;
        let scale = (&raw - &mean).mapv(|x| x * x).sum_axis(Axis(0)).mapv(|squares| {
            let deviation = (squares / rows as f64).sqrt();
            if deviation > 0.0 { 1.0 / deviation } else { 0.0 }
        });
        let standard = (raw - &mean) * &scale;

        // The parameters: weights row by row, then the bias, which is not penalised.
        let minimum = minimise(
            vec![0.0; (width + 1) * classes],
            config.max_iterations,
            config.tolerance,
            |parameters| {
                let (weights, bias) = divide(parameters, width, classes);
                let mut residual = standard.dot(&weights) + &bias;
                let mut loss = 0.0;
                for (mut row, label) in residual.rows_mut().into_iter().zip(labels) {
                    let top = row.fold(f64::NEG_INFINITY, |top, x| top.max(*x));
                    let own = row[*label];
                    row.mapv_inplace(|x| (x - top).exp());
                    let sum = row.sum();
                    loss += sum.ln() + top - own;
                    row.mapv_inplace(|x| x / sum);
                    row[*label] -= 1.0;
                }
                let penalty = weights.iter().map(|w| w * w).sum::<f64>();
                let slope = standard.t().dot(&residual) / rows as f64 + config.l2 * &weights;
                let bias_slope = residual.sum_axis(Axis(0)) / rows as f64;
                let gradient = slope.iter().chain(&bias_slope).copied().collect();
                (loss / rows as f64 + 0.5 * config.l2 * penalty, gradient)
            },
        );
        let (weights, bias) = divide(&minimum.point, width, classes);
        Ok(Self { mean, scale, weights, bias, converged: minimum.converged })
    }

    /// Whether the optimum was found within the steps.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// The weights of standardised features, `[features, classes]`.
    pub fn weights(&self) -> &Array2<f64> {
        &self.weights
    }

    /// The class of each row of features `[rows, features]`.
    ///
    /// # Errors
    /// When there are not as many features as were fitted, or one is not finite.
    pub fn predict(&self, features: ArrayView2<'_, f32>) -> Result<Vec<usize>, MetricError> {
        like_fitted(features, self.mean.len())?;
        let standard = (features.mapv(f64::from) - &self.mean) * &self.scale;
        let scores = standard.dot(&self.weights) + &self.bias;
        Ok(scores.rows().into_iter().map(|row| argmax(row.iter().copied())).collect())
    }
}

fn divide(parameters: &[f64], width: usize, classes: usize) -> (Array2<f64>, Array1<f64>) {
    let weights = Array2::from_shape_fn((width, classes), |(f, c)| parameters[f * classes + c]);
    let bias = Array1::from_shape_fn(classes, |class| parameters[width * classes + class]);
    (weights, bias)
}
