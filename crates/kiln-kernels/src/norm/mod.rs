//! Layer norm (<https://arxiv.org/abs/1607.06450>) and RMS norm (<https://arxiv.org/abs/1910.07467>)
//! over the last dimension, in one pass a row, forward and backward.
//!
//! Kept for the backward step: the input and two numbers a row.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{Backend, Differentiable, Kernel, Output, Tensors, plain::rows};
use burn::tensor::{
    Shape, Tensor, TensorPrimitive, backend::Backend as BurnBackend, ops::FloatTensor,
};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` over the last dimension; the variance
/// is the biased one.
///
/// # Shapes
/// - x: `[.., width]`, and so the result
/// - weight, bias: `[width]`
pub fn layer_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    epsilon: f64,
) -> Tensor<B, D> {
    call(Norm { centred: true, bias: bias.is_some(), epsilon }, x, weight, bias)
}

/// `x / sqrt(mean(x²) + epsilon) * weight` over the last dimension.
///
/// # Shapes
/// - x: `[.., width]`, and so the result
/// - weight: `[width]`
pub fn rms_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    call(Norm { centred: false, bias: false, epsilon }, x, weight, None)
}

fn call<B: Backend, const D: usize>(
    kernel: Norm,
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let primitive = |tensor: Tensor<B, 1>| tensor.into_primitive().tensor();
    let mut floats = vec![x.into_primitive().tensor(), primitive(weight)];
    floats.extend(bias.map(primitive));
    let out = B::record(&kernel, Tensors::floats(floats)).swap_remove(0);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// The forward step. Floats: x, weight, and the bias if there is one. Outputs: the normalised x;
/// `[rows, 2]`, each row's mean (zero if not centred) and one over its deviation.
#[derive(Debug, Clone)]
struct Norm {
    centred: bool,
    bias: bool,
    epsilon: f64,
}

/// The backward step. Floats: x, weight, the statistics, the gradient. Outputs: the gradients of x,
/// weight and bias.
#[derive(Debug, Clone)]
struct NormBackward {
    centred: bool,
}

impl Kernel for Norm {
    const NAME: &'static str = "norm";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let (rows, _) = rows(&floats[0]);
        vec![Output::new(floats[0].clone()), Output::full_precision([rows, 2])]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(self, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(self, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        Some(cube::forward(self, inputs))
    }
}

impl Differentiable for Norm {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let mut floats = inputs.floats;
        floats.truncate(2);
        floats.push(outputs[1].clone());
        Tensors::floats(floats)
    }

    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        _needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        let gradients = B::run(&NormBackward { centred: self.centred }, kept);
        gradients.into_iter().take(2 + usize::from(self.bias)).map(Some).collect()
    }
}

impl Kernel for NormBackward {
    const NAME: &'static str = "norm_backward";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let width = || Output::new(floats[1].clone());
        vec![Output::new(floats[0].clone()), width(), width()]
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
