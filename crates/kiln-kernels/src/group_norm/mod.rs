//! Group norm (<https://arxiv.org/abs/1803.08494>) over channels-last sequences, in two passes over
//! memory, forward and backward, with GELU in the second.
//!
//! With as many groups as channels every channel is normalised over time by itself, as after the
//! first convolution of wav2vec 2.0 (<https://arxiv.org/abs/2006.11477>).
//!
//! Kept for the backward step: the inputs and two numbers for each group of a sequence. The slope
//! of GELU is computed again.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::Tensor;

/// The settings of a [`group_norm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// Equal parts of the channels, each normalised over its channels and all frames.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether GELU (the exact one, with the error function) follows.
    pub gelu: bool,
}

impl GroupNormOptions {
    /// Of this many groups; epsilon 1e-5, no GELU.
    pub fn new(groups: usize) -> Self {
        Self { groups, epsilon: 1e-5, gelu: false }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, with mean and (biased) variance over
/// all frames of a sequence and the channels of a group.
///
/// Frames of padding take part, as they do in the models that use it.
///
/// # Shapes
/// - x: `[batch, frames, channels]`, and so the result
/// - weight, bias: `[channels]`
///
/// # Panics
/// When the groups do not divide the channels, or weight or bias have another size than those.
pub fn group_norm<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    options: GroupNormOptions,
) -> Tensor<B, 3> {
    let [_, _, channels] = x.dims();
    assert!(
        options.groups > 0 && channels % options.groups == 0,
        "group_norm: {} groups do not divide {channels} channels",
        options.groups
    );
    assert!(
        weight.dims() == [channels] && bias.dims() == [channels],
        "group_norm: weight and bias are not of {channels} channels"
    );
    let floats = [primitive(x), primitive(weight), primitive(bias)];
    record(&GroupNorm { options }, Tensors::floats(floats))
}

/// The forward step. Floats: x, weight, bias. Outputs: the result; `[batch, groups, 2]`, each
/// group's mean and one over its deviation.
#[derive(Debug, Clone)]
struct GroupNorm {
    options: GroupNormOptions,
}

/// The backward step. Floats: x, weight, bias, the statistics, the gradient. Outputs: the gradients
/// of weight, bias and, if it is needed, x.
#[derive(Debug, Clone)]
struct GroupNormBackward {
    options: GroupNormOptions,
    with_x: bool,
}

impl_kernel!(GroupNorm, "group_norm", forward, cube, |kernel, floats, _| {
    let statistics = Output::full_precision([floats[0][0], kernel.options.groups, 2]);
    vec![Output::new(floats[0].clone()), statistics]
});

impl Differentiable for GroupNorm {
    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let backward = GroupNormBackward { options: self.options, with_x: needed[0] };
        let mut gradients = B::run(&backward, kept).into_iter();
        let (weight, bias) = (gradients.next(), gradients.next());
        vec![gradients.next(), weight, bias]
    }
}

impl_kernel!(GroupNormBackward, "group_norm_backward", backward, cube, |kernel, floats, _| {
    let mut outputs = vec![Output::new(floats[1].clone()), Output::new(floats[2].clone())];
    if kernel.with_x {
        outputs.push(Output::new(floats[0].clone()));
    }
    outputs
});
