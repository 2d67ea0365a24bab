//! The gated attention of mixers (<https://arxiv.org/abs/2306.09364>): `x · softmax(scores)`, over
//! the tokens or the features of each item.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::Tensor;

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
    record(&kernel, Tensors::floats([x, scores].map(primitive)))
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

impl_kernel!(SoftmaxGate, "softmax_gate", forward, |_, floats, _| Output::like(&floats[..1]));

impl Differentiable for SoftmaxGate {
    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let kernel = SoftmaxGateBackward { tokens: self.tokens };
        B::run(&kernel, kept).into_iter().map(Some).collect()
    }
}

impl_kernel!(SoftmaxGateBackward, "softmax_gate_backward", backward, |_, floats, _| {
    Output::like(&floats[..2])
});
