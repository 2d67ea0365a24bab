//! What an update rule is told of a parameter.

use crate::groups::Parameter;
use burn::tensor::Tensor;
use kiln_core::Backend;

/// Learning rate and weight decay of one parameter in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepOptions {
    /// The learning rate.
    pub(super) rate: f64,
    /// Weight decay, zero for parameters that are never decayed.
    pub(super) decay: f64,
}

impl StepOptions {
    pub(super) fn new(parameter: &Parameter, rate: f64, decay: f64) -> Self {
        let decay = if parameter.decayed { decay } else { 0.0 };
        Self { rate: rate * parameter.share, decay }
    }

    /// Decoupled weight decay: what is left of a weight, <https://arxiv.org/abs/1711.05101>.
    pub(super) fn decayed<B: Backend>(&self, weight: Tensor<B, 1>) -> Tensor<B, 1> {
        if self.decay == 0.0 { weight } else { weight.mul_scalar(1.0 - self.rate * self.decay) }
    }
}
