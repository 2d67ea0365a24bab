//! Activation functions of biased inputs and gated linear units, in one pass forward and one
//! backward.
//!
//! Kept for the backward step: the inputs, and nothing computed from them.

mod cpu;
#[cfg(feature = "cube")]
pub(crate) mod cube;
mod reference;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::Activation;
pub(crate) use scalar::for_activation;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::Tensor;

/// `activation(x + bias)`.
///
/// # Shapes
/// - x: `[.., width]`, and so the result
/// - bias: `[width]`
///
/// # Panics
/// When the bias is not as long as x is wide.
pub fn activate<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    bias: Option<Tensor<B, 1>>,
    activation: Activation,
) -> Tensor<B, D> {
    if let Some(bias) = &bias {
        let (width, found) = (x.dims()[D - 1], bias.dims()[0]);
        assert_eq!(found, width, "the bias has {found} values for a width of {width}");
    }
    let kernel = Activate { activation, bias: bias.is_some() };
    let floats = [primitive(x)].into_iter().chain(bias.map(primitive));
    record(&kernel, Tensors::floats(floats))
}

/// A gated linear unit, <https://arxiv.org/abs/2002.05202>: the first half of the last dimension,
/// activated, times the second half. With [`Activation::Silu`] it is SwiGLU's, with
/// [`Activation::Gelu`] GEGLU's, with [`Activation::Sigmoid`] the original GLU's, where the paper
/// (with two matrices for our one) has no order of halves.
///
/// # Shapes
/// - x: `[.., 2 * hidden]`: gates, then what they gate
/// - result: `[.., hidden]`
///
/// # Panics
/// When the width is odd.
pub fn gated<B: Backend, const D: usize>(x: Tensor<B, D>, activation: Activation) -> Tensor<B, D> {
    let width = x.dims()[D - 1];
    assert!(width.is_multiple_of(2), "a width of {width} has no halves");
    record(&Gated { activation }, Tensors::floats([primitive(x)]))
}

/// [`activate`]. Floats: x, and the bias if there is one.
#[derive(Debug, Clone)]
struct Activate {
    activation: Activation,
    bias: bool,
}

/// Its backward step. Floats: x, the bias if there is one, the gradient. Outputs: the gradient of x
/// and, if wanted, of the bias.
#[derive(Debug, Clone)]
struct ActivateBackward {
    activation: Activation,
    bias: bool,
    bias_gradient: bool,
}

/// [`gated`]. Floats: x.
#[derive(Debug, Clone)]
struct Gated {
    activation: Activation,
}

/// Its backward step. Floats: x, the gradient. Outputs: the gradient of x.
#[derive(Debug, Clone)]
struct GatedBackward {
    activation: Activation,
}

impl_kernel!(Activate, "activate", activate, cube, |_, floats, _| Output::like(&floats[..1]));

impl Differentiable for Activate {
    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let step = ActivateBackward {
            activation: self.activation,
            bias: self.bias,
            bias_gradient: needed.get(1) == Some(&true),
        };
        let mut gradients = B::run(&step, kept).into_iter().map(Some).collect::<Vec<_>>();
        gradients.resize(needed.len(), None);
        gradients
    }
}

impl_kernel!(
    ActivateBackward,
    "activate_backward",
    activate_backward,
    cube,
    |kernel, floats, _| Output::like(&floats[..1 + usize::from(kernel.bias_gradient)])
);

impl_kernel!(Gated, "gated", gated, cube, |_, floats, _| {
    let mut shape = floats[0].clone();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    vec![Output::new(shape)]
});

impl Differentiable for Gated {
    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let step = GatedBackward { activation: self.activation };
        B::run(&step, kept).into_iter().map(Some).collect()
    }
}

impl_kernel!(GatedBackward, "gated_backward", gated_backward, cube, |_, floats, _| {
    Output::like(&floats[..1])
});
