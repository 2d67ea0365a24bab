//! A frozen linear layer with a low-rank update, <https://arxiv.org/abs/2106.09685>:
//! `x · weight + bias + scale · (x · down) · up` in one call.
//!
//! The frozen weight gets no gradient and the update's product is added where the layer's product
//! lies, so that neither a merged weight nor a second output is ever made. Kept for the backward
//! step: the input and its projection `[rows, rank]`.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record, rows},
};
use burn::tensor::{Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

/// The tensors of a linear layer with a low-rank update.
#[derive(Debug, Clone)]
pub struct LoraWeights<B: Backend> {
    /// `[inputs, outputs]`, frozen: whatever it says of itself, it gets no gradient.
    pub weight: Tensor<B, 2>,
    /// `[outputs]`
    pub bias: Option<Tensor<B, 1>>,
    /// `[inputs, rank]`
    pub down: Tensor<B, 2>,
    /// `[rank, outputs]`
    pub up: Tensor<B, 2>,
    /// What the update is multiplied with: alpha over the rank, or over its root
    /// (<https://arxiv.org/abs/2312.03732>).
    pub scale: f64,
}

/// `x · weight + bias + scale · (x · down) · up` over the last dimension.
///
/// # Shapes
/// - x: `[.., inputs]`
/// - result: `[.., outputs]`
///
/// # Panics
/// When the shapes do not fit each other.
pub fn lora_linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weights: LoraWeights<B>,
) -> Tensor<B, D> {
    let [inputs, outputs] = weights.weight.dims();
    let [rows, rank] = weights.down.dims();
    assert_eq!((x.dims()[D - 1], rows), (inputs, inputs), "features of input and weights");
    assert_eq!(weights.up.dims(), [rank, outputs], "the shape of `up`");
    let kernel = Lora { bias: weights.bias.is_some(), scale: weights.scale };
    let mut floats = vec![primitive(x)];
    floats.extend([weights.weight.detach(), weights.down, weights.up].map(primitive));
    floats.extend(weights.bias.map(|bias| {
        assert_eq!(bias.dims(), [outputs], "a bias's size");
        primitive(bias)
    }));
    record(&kernel, Tensors::floats(floats))
}

/// The forward step. Floats: x, weight, down, up, and the bias if there is one. Outputs: the
/// result; the projected x, `[rows, rank]`.
#[derive(Debug, Clone)]
struct Lora {
    bias: bool,
    scale: f64,
}

/// The backward step. Floats: x, weight, down, up, the projected x, the gradient. Outputs: the
/// gradients of down and up; of x, if it is needed; of the bias, if it is.
#[derive(Debug, Clone)]
struct LoraBackward {
    scale: f64,
    x: bool,
    bias: bool,
}

impl_kernel!(Lora, "lora_linear", forward, |_, floats, _| {
    let mut shape = floats[0].clone();
    let last = shape.num_dims() - 1;
    shape[last] = floats[1][1];
    vec![Output::new(shape), Output::new([rows(&floats[0]).0, floats[2][1]])]
});

impl Differentiable for Lora {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let kept = inputs.floats.into_iter().take(4);
        Tensors::floats(kept.chain(outputs.get(1).cloned()))
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let bias = self.bias && needed[4];
        let kernel = LoraBackward { scale: self.scale, x: needed[0], bias };
        let mut found = B::run(&kernel, kept).into_iter();
        let (down, up) = (found.next(), found.next());
        let x = if needed[0] { found.next() } else { None };
        let mut gradients = vec![x, None, down, up];
        if self.bias {
            gradients.push(found.next());
        }
        gradients
    }
}

impl_kernel!(LoraBackward, "lora_linear_backward", backward, |kernel, floats, _| {
    let mut outputs = vec![Output::new(floats[2].clone()), Output::new(floats[3].clone())];
    outputs.extend(kernel.x.then(|| Output::new(floats[0].clone())));
    outputs.extend(kernel.bias.then(|| Output::new([floats[1][1]])));
    outputs
});
