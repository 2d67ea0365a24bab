//! Layer norm (<https://arxiv.org/abs/1607.06450>) and RMS norm (<https://arxiv.org/abs/1910.07467>)
//! over the last dimension, in one pass a row, forward and backward, with the addition of a residual
//! in the same pass where it is asked for.
//!
//! Kept for the backward step: the input (or the sum) and two numbers a row.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Kernel, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record, rows, tensor},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

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

/// [`layer_norm`] of `x + residual`, and the sum itself, in one pass.
///
/// # Shapes
/// - x, residual: `[.., width]`, both the same, and so both results
/// - weight, bias: `[width]`
///
/// # Panics
/// When x and the residual differ in shape.
pub fn layer_norm_add<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    epsilon: f64,
) -> (Tensor<B, D>, Tensor<B, D>) {
    call_add(Norm { centred: true, bias: bias.is_some(), epsilon }, x, residual, weight, bias)
}

/// [`rms_norm`] of `x + residual`, and the sum itself, in one pass.
///
/// # Shapes
/// - x, residual: `[.., width]`, both the same, and so both results
/// - weight: `[width]`
///
/// # Panics
/// When x and the residual differ in shape.
pub fn rms_norm_add<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Tensor<B, D>,
    weight: Tensor<B, 1>,
    epsilon: f64,
) -> (Tensor<B, D>, Tensor<B, D>) {
    call_add(Norm { centred: false, bias: false, epsilon }, x, residual, weight, None)
}

fn call<B: Backend, const D: usize>(
    kernel: Norm,
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let floats = [primitive(x), primitive(weight)].into_iter().chain(bias.map(primitive));
    record(&kernel, Tensors::floats(floats))
}

/// Two steps of the graph, as a step has a single output with a gradient: one computes everything
/// and is the sum, the other is the norm of that sum, given what was computed.
fn call_add<B: Backend, const D: usize>(
    norm: Norm,
    x: Tensor<B, D>,
    residual: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
) -> (Tensor<B, D>, Tensor<B, D>) {
    assert_eq!(x.dims(), residual.dims(), "x and the residual differ in shape");
    let (weight, bias) = (primitive(weight), bias.map(primitive));
    let floats = [primitive(x), primitive(residual), weight.clone()];
    let floats = floats.into_iter().chain(bias.clone());
    let outputs = B::record(&AddNorm { norm: norm.clone() }, Tensors::floats(floats));
    let sum = outputs[0].clone();
    let floats = outputs.into_iter().chain([weight]).chain(bias);
    (record(&Normed { norm }, Tensors::floats(floats)), tensor(sum))
}

/// The forward step. Floats: x, weight, and the bias if there is one. Outputs: the normalised x;
/// `[rows, 2]`, each row's mean (zero if not centred) and one over its deviation.
#[derive(Debug, Clone)]
struct Norm {
    centred: bool,
    bias: bool,
    epsilon: f64,
}

/// The sum and its norm. Floats: x, the residual, weight, and the bias if there is one. Outputs: the
/// sum; what [`Norm`] gives for it.
#[derive(Debug, Clone)]
struct AddNorm {
    norm: Norm,
}

/// The norm of a sum, already computed. Floats: the outputs of [`AddNorm`], weight, and the bias if
/// there is one. Outputs: those of [`Norm`].
#[derive(Debug, Clone)]
struct Normed {
    norm: Norm,
}

/// The backward step. Floats: x, weight, the statistics, the gradient. Outputs: the gradients of x,
/// weight and bias.
#[derive(Debug, Clone)]
struct NormBackward {
    centred: bool,
}

impl_kernel!(Norm, "norm", forward, cube, |_, floats, _| {
    let (rows, _) = rows(&floats[0]);
    vec![Output::new(floats[0].clone()), Output::full_precision([rows, 2])]
});

impl_kernel!(AddNorm, "add_norm", forward_add, cube, |kernel, floats, ints| {
    let mut outputs = vec![Output::new(floats[0].clone())];
    outputs.extend(kernel.norm.outputs(floats, ints));
    outputs
});

impl Differentiable for AddNorm {
    fn keep<B: BurnBackend>(&self, _inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats([])
    }

    /// Of the sum, which does not depend on weight and bias.
    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let [gradient] = kept.take();
        vec![Some(gradient.clone()), Some(gradient)]
    }
}

impl Kernel for Normed {
    const NAME: &'static str = "normed";

    fn outputs(&self, floats: &[Shape], ints: &[Shape]) -> Vec<Output> {
        self.norm.outputs(floats, ints)
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        inputs.floats.into_iter().skip(1).take(2).collect()
    }
}

impl Differentiable for Normed {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let floats = [0, 3, 2].map(|index| inputs.floats[index].clone());
        Tensors::floats(floats)
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let mut gradients = self.norm.backward::<B>(kept, needed).into_iter();
        let sum = gradients.next().flatten();
        [sum, None, None].into_iter().chain(gradients).collect()
    }
}

impl Differentiable for Norm {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let mut floats = inputs.floats;
        floats.truncate(2);
        floats.push(outputs[1].clone());
        Tensors::floats(floats)
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let gradients = B::run(&NormBackward { centred: self.centred }, kept);
        gradients.into_iter().take(2 + usize::from(self.bias)).map(Some).collect()
    }
}

impl_kernel!(NormBackward, "norm_backward", backward, cube, |_, floats, _| {
    let width = || Output::new(floats[1].clone());
    vec![Output::new(floats[0].clone()), width(), width()]
});
