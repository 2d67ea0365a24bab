//! Cross-entropy against soft targets: distillation, mixed labels.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;

use crate::{
    Backend, Differentiable, Kernel, Output, Tensors,
    plain::{at_needed, primitive, tensor},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// `-Σ target ln softmax(logits)` of each row, in f32 where the inputs are of lower precision.
/// Targets need not sum to one. Gradients flow to both.
///
/// # Shapes
/// - logits, targets: `[rows, classes]`
/// - the result: `[rows]`
///
/// # Panics
/// When the shapes differ.
pub fn soft_cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
    assert_eq!(logits.dims(), targets.dims(), "soft_cross_entropy: logits and targets");
    assert!(logits.dims()[1] > 0, "soft_cross_entropy: there are no classes");
    let inputs = Tensors::floats([primitive(logits), primitive(targets)]);
    tensor(B::record(&Soft, inputs).swap_remove(0))
}

/// The forward step. Floats: logits, targets. Outputs: the losses; `[rows, 2]`, each row's
/// log-sum-exp and the sum of its targets.
#[derive(Debug, Clone)]
pub(super) struct Soft;

/// The backward step. Floats: logits, targets, `[rows, 2]`, the losses' gradient. Outputs: those
/// needed of the gradients of logits and targets.
#[derive(Debug, Clone)]
pub(super) struct SoftBackward {
    needed: [bool; 2],
}

impl Kernel for Soft {
    const NAME: &'static str = "soft_cross_entropy";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let rows = floats[0][0];
        vec![Output::full_precision([rows]), Output::full_precision([rows, 2])]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        Some(cube::forward(inputs))
    }
}

impl Differentiable for Soft {
    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        at_needed(needed, B::run(&SoftBackward { needed: [needed[0], needed[1]] }, kept))
    }
}

impl Kernel for SoftBackward {
    const NAME: &'static str = "soft_cross_entropy_backward";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let needed = self.needed.into_iter().filter(|&needed| needed);
        needed.map(|_| Output::new(floats[0].clone())).collect()
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::backward(self, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::backward(self, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        Some(cube::backward(self, inputs))
    }
}
