//! The gated attention of mixers (<https://arxiv.org/abs/2306.09364>): `x · softmax(scores)`, over
//! the tokens or the features of each item.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::{Backend, Differentiable, Kernel, Output, Tensors};
use burn::tensor::{
    Shape, Tensor, TensorPrimitive, backend::Backend as BurnBackend, ops::FloatTensor,
};
use burn_flex::{Flex, FlexTensor};

/// `x · softmax(scores)`, value by value, with the softmax along dimension 1 or 2.
///
/// # Shapes
/// - x, scores and the result: `[batch, tokens, width]`
///
/// # Panics
/// When the shapes differ or `dim` is neither 1 nor 2.
pub fn softmax_gate<B: Backend>(x: Tensor<B, 3>, scores: Tensor<B, 3>, dim: usize) -> Tensor<B, 3> {
    assert_eq!(x.dims(), scores.dims(), "shapes of values and scores");
    assert!(dim == 1 || dim == 2, "a gate runs over tokens or features");
    let kernel = SoftmaxGate { tokens: dim == 1 };
    let floats = [x, scores].map(|tensor| tensor.into_primitive().tensor());
    let out = B::record(&kernel, Tensors::floats(floats)).swap_remove(0);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// The forward step. Floats: x, scores.
#[derive(Debug, Clone)]
struct SoftmaxGate {
    tokens: bool,
}

/// The backward step. Floats: x, scores, the gradient. Outputs: the gradients of x and scores.
#[derive(Debug, Clone)]
struct SoftmaxGateBackward {
    tokens: bool,
}

impl Kernel for SoftmaxGate {
    const NAME: &'static str = "softmax_gate";

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        vec![Output::new(floats[0].clone())]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(self.tokens, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(self.tokens, inputs)
    }
}

impl Differentiable for SoftmaxGate {
    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        _needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        let kernel = SoftmaxGateBackward { tokens: self.tokens };
        B::run(&kernel, kept).into_iter().map(Some).collect()
    }
}

impl Kernel for SoftmaxGateBackward {
    const NAME: &'static str = "softmax_gate_backward";

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        vec![Output::new(floats[0].clone()), Output::new(floats[0].clone())]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::backward(self.tokens, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::backward(self.tokens, inputs)
    }
}
