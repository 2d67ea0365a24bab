//! Softmax cross-entropy over large vocabularies, without a matrix of probabilities: of logits, or
//! of hidden states and an output layer (the logits are never all in memory).
//!
//! Kept for the backward step: the inputs and one log-sum-exp a row.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod linear;
mod reference;
#[cfg(test)]
mod tests;

pub use linear::linear_cross_entropy;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::{Int, Tensor};

/// How cross-entropy is counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CrossEntropyOptions {
    /// Rows with this target count nothing: their loss is 0, and so is their gradient.
    pub ignore_index: Option<i64>,
    /// The share of the target that is spread evenly over all classes, the target's own included
    /// (as PyTorch counts it).
    pub label_smoothing: f64,
    /// The coefficient of `ln(Σ e^logit)²`, which keeps logits from drifting
    /// (<https://arxiv.org/abs/2204.02311>, section 5).
    pub z_loss: f64,
}

/// `-ln softmax(logits)[target]` of each row, in f32 where the logits are of lower precision.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - targets: `[rows]`, each in `0..classes` or the ignored one
/// - the result: `[rows]`
///
/// # Panics
/// When the shapes do not fit. On the CPU, also when a target is out of range.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<B, 1> {
    let [rows, classes] = logits.dims();
    assert!(classes > 0, "cross_entropy: there are no classes");
    assert_eq!(targets.dims(), [rows], "cross_entropy: one target a row of the logits");
    let inputs = Tensors::floats([primitive(logits)]).with_ints([targets.into_primitive()]);
    record(&CrossEntropy { options }, inputs)
}

/// The forward step. Floats: logits. Ints: targets. Outputs: the losses; the rows'
/// log-sum-exp. Both are 0 where ignored.
#[derive(Debug, Clone)]
struct CrossEntropy {
    options: CrossEntropyOptions,
}

/// The backward step. Floats: logits, log-sum-exp, the losses' gradient. Ints: targets. Outputs:
/// the logits' gradient.
#[derive(Debug, Clone)]
struct CrossEntropyBackward {
    options: CrossEntropyOptions,
}

impl CrossEntropyOptions {
    /// The weight of the target's own logit.
    fn target_weight(&self) -> f64 {
        1.0 - self.label_smoothing
    }

    /// The weight of each logit.
    fn smoothing(&self, classes: usize) -> f64 {
        self.label_smoothing / classes as f64
    }
}

impl_kernel!(CrossEntropy, "cross_entropy", forward, cube, |_, _, ints| vec![
    Output::full_precision(ints[0].clone()),
    Output::full_precision(ints[0].clone())
]);

impl Differentiable for CrossEntropy {
    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let gradients = B::run(&CrossEntropyBackward { options: self.options }, kept);
        gradients.into_iter().map(Some).collect()
    }
}

impl_kernel!(CrossEntropyBackward, "cross_entropy_backward", backward, cube, |_, floats, _| {
    Output::like(&floats[..1])
});
