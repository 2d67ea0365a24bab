//! One-dimensional convolution over channels-last sequences: the wave encoders of wav2vec 2.0
//! (<https://arxiv.org/abs/2006.11477>), HuBERT and data2vec, their grouped positional convolution,
//! the stem of Whisper (<https://arxiv.org/abs/2212.04356>) and the depthwise convolution of the
//! Conformer (<https://arxiv.org/abs/2005.08100>).
//!
//! With channels last, what an output frame sees lies in memory as one run of values, so that a
//! strided convolution is a matrix product of *overlapping rows*; nothing is unfolded. The input
//! gradient is such a product, too, one for each remainder of the frame by the stride.
//!
//! Kept for the backward step: the input, the weight and, with GELU, its slope at every output.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod geometry;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{at_needed, primitive, record},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};
use geometry::Geometry;

/// How a [`conv1d`] walks over its input, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dOptions {
    /// Frames from one window to the next.
    pub stride: usize,
    /// Frames of zeros before and after the sequence. `[n, 0]` with `n = (kernel - 1) * dilation`
    /// is causal.
    pub padding: [usize; 2],
    /// Frames from one tap of the kernel to the next.
    pub dilation: usize,
    /// Parts of the channels that do not see each other; as many as channels is depthwise.
    pub groups: usize,
    /// Whether GELU (the exact one, with the error function) follows, in the same pass.
    pub gelu: bool,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Self { stride: 1, padding: [0, 0], dilation: 1, groups: 1, gelu: false }
    }
}

/// The convolution (a cross-correlation, as everywhere in the field) of sequences with a kernel.
///
/// # Shapes
/// - x: `[batch, frames, channels_in]`
/// - weight: `[channels_out, channels_in / groups, kernel]`, as checkpoints have it
/// - bias: `[channels_out]`
/// - result: `[batch, frames_out, channels_out]` with
///   `frames_out = (frames + padding - dilation * (kernel - 1) - 1) / stride + 1`
///
/// # Panics
/// When the shapes do not fit each other, an option that must be positive is zero, or the padded
/// sequence is shorter than the kernel.
pub fn conv1d<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    options: Conv1dOptions,
) -> Tensor<B, 3> {
    let Conv1dOptions { stride, padding, dilation, groups, gelu } = options;
    let ([_, frames, channels_in], [channels_out, width, kernel]) = (x.dims(), weight.dims());
    assert!(stride > 0 && dilation > 0 && groups > 0, "conv1d: zero in {options:?}");
    assert!(kernel > 0 && width * groups == channels_in, "conv1d: weight and x differ in channels");
    assert!(channels_out % groups == 0, "conv1d: groups do not divide the {channels_out} outputs");
    assert!(
        bias.as_ref().is_none_or(|bias| bias.dims() == [channels_out]),
        "conv1d: the bias is not of {channels_out} channels"
    );
    assert!(
        frames + padding[0] + padding[1] > dilation * (kernel - 1),
        "conv1d: {frames} frames with padding {padding:?} are shorter than the kernel"
    );
    let kernel =
        Conv1d { options, bias: bias.is_some(), slope: gelu && B::ad_enabled(&x.device()) };
    let floats = [primitive(x), primitive(weight)].into_iter().chain(bias.map(primitive));
    record(&kernel, Tensors::floats(floats))
}

/// The forward step. Floats: x, weight, and the bias if there is one. Outputs: the result; the
/// slope of GELU at each of its values, if a backward step may follow.
#[derive(Debug, Clone)]
struct Conv1d {
    options: Conv1dOptions,
    bias: bool,
    slope: bool,
}

/// The backward step. Floats: x, weight, the slope if GELU followed, the gradient. Outputs: those
/// gradients of x, weight and bias that are needed, in this order.
#[derive(Debug, Clone)]
struct Conv1dBackward {
    options: Conv1dOptions,
    needed: [bool; 3],
}

impl_kernel!(Conv1d, "conv1d", forward, cube, |kernel, floats, _| {
    let shape = Geometry::new(kernel.options, &floats[0], &floats[1]).out_shape();
    vec![Output::new(shape); 1 + usize::from(kernel.slope)]
});

impl Differentiable for Conv1d {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let mut floats = inputs.floats;
        floats.truncate(2);
        floats.extend(outputs.iter().skip(1).cloned());
        Tensors::floats(floats)
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let needed: [bool; 3] =
            std::array::from_fn(|index| needed.get(index).copied().unwrap_or(false));
        let backward = Conv1dBackward { options: self.options, needed };
        at_needed(&needed[..2 + usize::from(self.bias)], B::run(&backward, kept))
    }
}

impl_kernel!(Conv1dBackward, "conv1d_backward", backward, cube, |kernel, floats, _| {
    let shapes = [floats[0].clone(), floats[1].clone(), Shape::new([floats[1][0]])];
    let needed = shapes.into_iter().zip(kernel.needed).filter(|(_, needed)| *needed);
    needed.map(|(shape, _)| Output::new(shape)).collect()
});
