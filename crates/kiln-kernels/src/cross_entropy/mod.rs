//! Softmax cross-entropy over large vocabularies, without a matrix of probabilities: of logits, of
//! hidden states and an output layer (the logits are never all in memory), and against soft
//! targets.
//!
//! Kept for the backward step: the inputs and one log-sum-exp a row.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod linear;
mod reference;
mod soft;
#[cfg(test)]
mod tests;

pub use linear::linear_cross_entropy;
pub use soft::soft_cross_entropy;

use crate::{
    Backend, Differentiable, Kernel, Output, Tensors,
    plain::{primitive, tensor},
};
use burn::tensor::{Int, Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

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
    tensor(B::record(&CrossEntropy { options }, inputs).swap_remove(0))
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
    fn hit(&self) -> f64 {
        1.0 - self.label_smoothing
    }

    /// The weight of each logit.
    fn spread(&self, classes: usize) -> f64 {
        self.label_smoothing / classes as f64
    }
}

impl Kernel for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    const ON_CUBE: bool = true;

    fn outputs(&self, _floats: &[Shape], ints: &[Shape]) -> Vec<Output> {
        vec![Output::full_precision(ints[0].clone()), Output::full_precision(ints[0].clone())]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(&self.options, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(&self.options, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        Some(cube::forward(&self.options, inputs))
    }
}

impl Differentiable for CrossEntropy {
    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        _needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        let gradients = B::run(&CrossEntropyBackward { options: self.options }, kept);
        gradients.into_iter().map(Some).collect()
    }
}

impl Kernel for CrossEntropyBackward {
    const NAME: &'static str = "cross_entropy_backward";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        vec![Output::new(floats[0].clone())]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::backward(&self.options, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::backward(&self.options, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        Some(cube::backward(&self.options, inputs))
    }
}
