//! Normalisation of features: layer norm (<https://arxiv.org/abs/1607.06450>), batch norm
//! (<https://arxiv.org/abs/1502.03167>) and RMS norm (<https://arxiv.org/abs/1910.07467>).

use crate::ConfigError;
use burn::{
    module::{Initializer, Module, Param, RunningState},
    tensor::Tensor,
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Over what a norm takes its statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Mean and variance over the features of each token.
    #[default]
    Layer,
    /// Mean and variance of each feature over batch and tokens; running ones when not training.
    Batch,
    /// Root mean square over the features of each token; no bias.
    Rms,
}

/// A norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormConfig {
    /// Over what it takes its statistics.
    pub kind: NormKind,
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Whether a bias is added; never by RMS norms.
    pub bias: bool,
    /// Batch norm: the share of the new statistics in the running ones, a step.
    pub momentum: f64,
    /// Batch norm: use the running statistics while training too, and leave them as they are.
    pub frozen: bool,
}

impl Default for NormConfig {
    fn default() -> Self {
        Self { kind: NormKind::Layer, epsilon: 1e-5, bias: true, momentum: 0.1, frozen: false }
    }
}

impl NormConfig {
    /// The default settings of a kind.
    pub fn new(kind: NormKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(ConfigError::new("epsilon", self.epsilon, "a positive number"));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(ConfigError::new("momentum", self.momentum, "between 0 and 1"));
        }
        Ok(())
    }

    /// A norm of `width` features that starts as the identity after standardisation.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> Norm<B> {
        Norm {
            weight: Initializer::Ones.init([width], device),
            bias: (self.bias && self.kind != NormKind::Rms)
                .then(|| Initializer::Zeros.init([width], device)),
            running: (self.kind == NormKind::Batch).then(|| RunningStatistics {
                mean: RunningState::new(Tensor::zeros([width], device)),
                variance: RunningState::new(Tensor::ones([width], device)),
                batches: RunningState::new(Tensor::zeros([1], device)),
            }),
            config: *self,
        }
    }
}

/// A norm over the last dimension.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    /// `[width]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[width]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Batch norm's running statistics.
    pub running: Option<RunningStatistics<B>>,
    #[module(skip)]
    config: NormConfig,
}

/// What batch norm remembers of training.
#[derive(Module, Debug)]
pub struct RunningStatistics<B: Backend> {
    /// `[width]`
    pub mean: RunningState<Tensor<B, 1>>,
    /// `[width]`, unbiased.
    pub variance: RunningState<Tensor<B, 1>>,
    /// `[1]`, how many batches they were taken from; a float, so that optimizers and checkpoints
    /// meet one kind of tensor only. Exact up to 2^24 batches.
    pub batches: RunningState<Tensor<B, 1>>,
}

impl<B: Backend> Norm<B> {
    /// `[.., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        match &self.running {
            Some(running) => self.forward_batch(x, running),
            None => {
                let (weight, epsilon) = (self.weight.val(), self.config.epsilon);
                match self.config.kind {
                    NormKind::Rms => kiln_kernels::rms_norm(x, weight, epsilon),
                    _ => {
                        let bias = self.bias.as_ref().map(Param::val);
                        kiln_kernels::layer_norm(x, weight, bias, epsilon)
                    }
                }
            }
        }
    }

    /// The norm of `x + residual`, `[.., width]` both, and the sum itself.
    pub fn forward_add<const D: usize>(
        &self,
        x: Tensor<B, D>,
        residual: Tensor<B, D>,
    ) -> (Tensor<B, D>, Tensor<B, D>) {
        let (weight, epsilon) = (self.weight.val(), self.config.epsilon);
        match self.config.kind {
            NormKind::Layer => {
                let bias = self.bias.as_ref().map(Param::val);
                kiln_kernels::layer_norm_add(x, residual, weight, bias, epsilon)
            }
            NormKind::Rms => kiln_kernels::rms_norm_add(x, residual, weight, epsilon),
            NormKind::Batch => {
                let sum = x + residual;
                (self.forward(sum.clone()), sum)
            }
        }
    }

    fn forward_batch<const D: usize>(
        &self,
        x: Tensor<B, D>,
        running: &RunningStatistics<B>,
    ) -> Tensor<B, D> {
        let training = kiln_kernels::is_training::<B>(&x.device()) && !self.config.frozen;
        let (mean, variance) =
            if training { self.observe(x.clone(), running) } else { running.values() };
        // One multiplication and one addition a value: x * scale + shift.
        let scale = self.weight.val() / variance.add_scalar(self.config.epsilon).sqrt();
        let shift = match &self.bias {
            Some(bias) => bias.val() - mean * scale.clone(),
            None => (mean * scale.clone()).neg(),
        };
        x * scale.unsqueeze() + shift.unsqueeze()
    }

    /// Mean and biased variance of this batch, `[width]` each; updates the running statistics.
    fn observe<const D: usize>(
        &self,
        x: Tensor<B, D>,
        running: &RunningStatistics<B>,
    ) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let width = x.dims()[D - 1];
        let rows = x.shape().num_elements() / width.max(1);
        let x = x.reshape([rows, width]);
        let mean = x.clone().mean_dim(0);
        let variance = (x - mean.clone()).square().mean_dim(0);
        let (mean, variance) = (mean.reshape([width]), variance.reshape([width]));
        // As elsewhere, the running variance is unbiased though the one in use is not.
        let unbiased = rows as f64 / rows.saturating_sub(1).max(1) as f64;
        let momentum = self.config.momentum;
        let blend = |state: &RunningState<Tensor<B, 1>>, new: Tensor<B, 1>| {
            let old = state.value_sync();
            state.update(old.mul_scalar(1.0 - momentum) + new.detach().mul_scalar(momentum));
            // Settles it at once: what is saved must not lag a step behind.
            state.value_sync();
        };
        blend(&running.mean, mean.clone());
        blend(&running.variance, variance.clone().mul_scalar(unbiased));
        running.batches.update(running.batches.value_sync().add_scalar(1.0));
        running.batches.value_sync();
        (mean, variance)
    }
}

impl<B: Backend> RunningStatistics<B> {
    /// Mean and variance, `[width]` each.
    fn values(&self) -> (Tensor<B, 1>, Tensor<B, 1>) {
        (self.mean.value_sync(), self.variance.value_sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{backend::Autodiff, module::AutodiffModule};
    use burn_flex::Flex;

    type A = Autodiff<Flex>;

    fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn layer_and_rms_by_hand() {
        let device = Default::default();
        let x = Tensor::<Flex, 2>::from_floats([[1.0, 3.0]], &device);
        let layer = NormConfig::default().init::<Flex>(2, &device);
        close(&values(layer.forward(x.clone())), &[-1.0, 1.0]);
        let rms = NormConfig::new(NormKind::Rms).init::<Flex>(2, &device);
        // The root mean square of 1 and 3 is sqrt(5).
        close(&values(rms.forward(x)), &[0.447_21, 1.341_64]);
    }

    #[test]
    fn batch_norm_learns_statistics_and_uses_them() {
        let device = Default::default();
        let norm = NormConfig::new(NormKind::Batch).init::<A>(1, &device);
        let x = Tensor::<A, 3>::from_floats([[[0.0], [2.0]], [[4.0], [6.0]]], &device);
        // Mean 3, variance 5.
        close(&values(norm.forward(x)), &[-1.341_64, -0.447_21, 0.447_21, 1.341_64]);
        let running = norm.running.clone().unwrap();
        close(&values(running.mean.value()), &[0.3]);
        close(&values(running.variance.value()), &[0.9 + 0.1 * 20.0 / 3.0]);
        close(&values(running.batches.value()), &[1.0]);
        let still = norm.valid();
        let one = Tensor::<Flex, 2>::from_floats([[0.3]], &device);
        close(&values(still.forward(one)), &[0.0]);
    }

    #[test]
    fn batch_norm_at_rest_uses_its_statistics_and_leaves_them() {
        let device = Default::default();
        let norm = NormConfig::new(NormKind::Batch).init::<A>(1, &device);
        let x = Tensor::<A, 2>::from_floats([[5.0]], &device);
        close(&values(kiln_kernels::eval_mode(|| norm.forward(x))), &[5.0]);
        close(&values(norm.running.unwrap().batches.value()), &[0.0]);
    }

    #[test]
    fn frozen_batch_norm_leaves_its_statistics() {
        let device = Default::default();
        let config = NormConfig { frozen: true, ..NormConfig::new(NormKind::Batch) };
        let norm = config.init::<A>(1, &device);
        close(&values(norm.forward(Tensor::<A, 2>::from_floats([[5.0]], &device))), &[5.0]);
        close(&values(norm.running.unwrap().batches.value()), &[0.0]);
    }

    #[test]
    fn settings_are_checked() {
        let error = NormConfig { epsilon: 0.0, ..NormConfig::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "`epsilon` is 0; expected a positive number");
    }
}
