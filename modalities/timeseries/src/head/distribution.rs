//! Distributions as forecasts: from raw parameters to their domain, and log likelihoods.
//!
//! Parameters that must be positive pass through squareplus, `(x + sqrt(x² + 4)) / 2`,
//! <https://arxiv.org/abs/2112.11687>.

use burn::tensor::{Tensor, activation::log_sigmoid};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A family of distributions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Student's t: degrees of freedom, location, scale.
    #[default]
    StudentT,
    /// Normal: mean, standard deviation.
    Normal,
    /// Negative binomial, for counts: total count, logits.
    NegativeBinomial,
}

impl Distribution {
    /// How many parameters it has.
    pub fn parameters(self) -> usize {
        match self {
            Self::StudentT => 3,
            Self::Normal | Self::NegativeBinomial => 2,
        }
    }

    /// Maps what a network puts out to the parameters' domain, in order; `[batch, rows, targets]`
    /// each. `scale` `[batch, 1, targets]` is the data's: a negative binomial cannot be scaled
    /// afterwards, so it enters the logits.
    pub fn domain<B: Backend>(
        self,
        raw: Vec<Tensor<B, 3>>,
        scale: &Tensor<B, 3>,
    ) -> Vec<Tensor<B, 3>> {
        raw.into_iter()
            .enumerate()
            .map(|(at, x)| match (self, at) {
                (Self::StudentT, 0) => squareplus(x).add_scalar(2.0),
                (Self::StudentT, 2) | (Self::Normal, 1) => {
                    squareplus(x).clamp_min(f64::from(f32::EPSILON))
                }
                (Self::NegativeBinomial, 0) => squareplus(x),
                (Self::NegativeBinomial, _) => x + scale.clone().log(),
                _ => x,
            })
            .collect()
    }

    /// The centre of the distribution in data units, from mapped parameters.
    pub fn centre<B: Backend>(
        self,
        parameters: &[Tensor<B, 3>],
        loc: &Tensor<B, 3>,
        scale: &Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        match (self, parameters) {
            (Self::NegativeBinomial, [count, logits, ..]) => count.clone() * logits.clone().exp(),
            (Self::StudentT, [_, centre, ..]) | (Self::Normal, [centre, ..]) => {
                centre.clone() * scale.clone() + loc.clone()
            }
            _ => loc.clone(),
        }
    }

    /// The log likelihood of each value of `data` `[batch, rows, targets]`, in data units, given
    /// mapped parameters of the scaled data.
    pub fn log_likelihood<B: Backend>(
        self,
        parameters: &[Tensor<B, 3>],
        loc: &Tensor<B, 3>,
        scale: &Tensor<B, 3>,
        data: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let scaled = |data: Tensor<B, 3>| (data - loc.clone()) / scale.clone();
        let stretch = || scale.clone().abs().log();
        match (self, parameters) {
            (Self::StudentT, [freedom, centre, width]) => {
                let y = (scaled(data) - centre.clone()) / width.clone();
                let half = freedom.clone().mul_scalar(0.5);
                let upper = half.clone().add_scalar(0.5);
                let normaliser = width.clone().log()
                    + freedom.clone().log().add_scalar(PI.ln()).mul_scalar(0.5)
                    + log_gamma(half)
                    - log_gamma(upper.clone());
                (y.square() / freedom.clone()).log1p().neg() * upper - normaliser - stretch()
            }
            (Self::Normal, [centre, width]) => {
                let y = (scaled(data) - centre.clone()) / width.clone();
                let normaliser = width.clone().log().add_scalar(0.5 * (2.0 * PI).ln());
                y.square().mul_scalar(-0.5) - normaliser - stretch()
            }
            (Self::NegativeBinomial, [count, logits]) => {
                let likelihood = count.clone() * log_sigmoid(logits.clone().neg())
                    + data.clone() * log_sigmoid(logits.clone());
                likelihood + log_gamma(count.clone() + data.clone())
                    - log_gamma(data.add_scalar(1.0))
                    - log_gamma(count.clone())
            }
            // A head has as many parameters as its distribution.
            _ => data.zeros_like(),
        }
    }
}

fn squareplus<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    (x.clone() + x.square().add_scalar(4.0).sqrt()).mul_scalar(0.5)
}

/// The logarithm of the gamma function for positive values: Stirling's series, moved up by seven
/// where it converges fast.
fn log_gamma<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    // ln Γ(x) = ln Γ(x + 7) - ln x - ln(x + 1) - ... - ln(x + 6)
    let below =
        (1..7).fold(x.clone().log(), |sum, step| sum + x.clone().add_scalar(f64::from(step)).log());
    let x = x.add_scalar(7.0);
    let inverse = x.clone().recip();
    let square = inverse.clone().square();
    let series = square.mul_scalar(-1.0 / 360.0).add_scalar(1.0 / 12.0) * inverse;
    x.clone().sub_scalar(0.5) * x.clone().log() - x + series.add_scalar(0.5 * (2.0 * PI).ln())
        - below
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    fn one(value: f32) -> Tensor<Flex, 3> {
        Tensor::full([1, 1, 1], value, &Default::default())
    }

    #[test]
    fn log_gamma_at_known_points() {
        for (x, expected) in
            [(0.5, 0.572_365), (1.0, 0.0), (2.0, 0.0), (5.0, 3.178_054), (30.5, 72.953_05)]
        {
            let found: f32 = log_gamma(one(x)).into_scalar();
            assert!((found - expected).abs() < 2e-5 * expected.max(1.0), "{x}: {found}");
        }
    }

    #[test]
    fn likelihoods_by_hand() {
        let likelihood =
            |distribution: Distribution, parameters: &[f32], loc, scale, value| -> f32 {
                let parameters: Vec<_> = parameters.iter().map(|value| one(*value)).collect();
                distribution
                    .log_likelihood(&parameters, &one(loc), &one(scale), one(value))
                    .into_scalar()
            };
        // Standard normal at zero, then stretched by two.
        let normal = likelihood(Distribution::Normal, &[0.0, 1.0], 0.0, 1.0, 0.0);
        assert!((normal + 0.918_939).abs() < 1e-5);
        let wide = likelihood(Distribution::Normal, &[0.0, 1.0], 3.0, 2.0, 3.0);
        assert!((wide + 0.918_939 + 2f32.ln()).abs() < 1e-5);
        // Student's t with 3 degrees of freedom at zero: 2 / (pi sqrt 3).
        let student = likelihood(Distribution::StudentT, &[3.0, 0.0, 1.0], 0.0, 1.0, 0.0);
        assert!((student - (2.0 / (PI as f32 * 3f32.sqrt())).ln()).abs() < 1e-5);
        // One success among a geometric: p (1 - p) with p = 1/2.
        let counts = likelihood(Distribution::NegativeBinomial, &[1.0, 0.0], 0.0, 1.0, 1.0);
        assert!((counts - 0.25f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn parameters_reach_their_domain() {
        let raw = vec![one(0.0), one(5.0), one(0.0)];
        let mapped = Distribution::StudentT.domain(raw, &one(1.0));
        let values: Vec<f32> = mapped.into_iter().map(Tensor::into_scalar).collect();
        assert_eq!(values, [3.0, 5.0, 1.0]);
    }
}
