//! In plain tensor operations: Burn's convolution over channels-first copies.

use super::{Conv1d, Conv1dBackward, Conv1dOptions};
use crate::Tensors;
use burn::tensor::{
    Tensor, TensorMetadata, TensorPrimitive, activation::gelu, backend::Backend as BurnBackend, module::conv1d,
    ops::ConvOptions, ops::FloatTensor,
};

fn tensor<B: BurnBackend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

fn primitive<B: BurnBackend, const D: usize>(x: Tensor<B, D>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

/// With zeros around it: so many frames before and after.
fn padded<B: BurnBackend>(x: Tensor<B, 3>, padding: [usize; 2]) -> Tensor<B, 3> {
    let [batch, _, channels] = x.dims();
    let (device, dtype) = (x.device(), x.dtype());
    let zeros = |frames| Tensor::zeros([batch, frames, channels], (&device, dtype));
    let mut parts = Vec::new();
    if padding[0] > 0 {
        parts.push(zeros(padding[0]));
    }
    parts.push(x);
    if padding[1] > 0 {
        parts.push(zeros(padding[1]));
    }
    Tensor::cat(parts, 1)
}

/// How many frames of the padded input are seen at all. The rest is cut off: Burn's weight gradient
/// of grouped convolutions is wrong where there is any.
fn seen(options: &Conv1dOptions, padded: usize, kernel: usize) -> usize {
    let span = (kernel - 1) * options.dilation + 1;
    (padded - span) / options.stride * options.stride + span
}

/// Of a convolution whose input is already padded.
fn convolution(options: &Conv1dOptions) -> ConvOptions<1> {
    ConvOptions::new([options.stride], [0], [options.dilation], options.groups)
}

pub(super) fn forward<B: BurnBackend>(kernel: &Conv1d, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter();
    let (Some(x), Some(weight)) = (floats.next(), floats.next()) else { return Vec::new() };
    let options = &kernel.options;
    let weight = tensor::<B, 3>(weight);
    let x = padded::<B>(tensor(x), options.padding);
    let [_, frames, _] = x.dims();
    let x = x.narrow(1, 0, seen(options, frames, weight.dims()[2])).swap_dims(1, 2);
    let bias = floats.next().map(tensor::<B, 1>);
    let out = conv1d(x, weight, bias, convolution(options)).swap_dims(1, 2);
    if !options.gelu {
        return vec![primitive(out)];
    }
    let mut outputs = vec![primitive(gelu(out.clone()))];
    if kernel.slope {
        let below = (out.clone() / std::f64::consts::SQRT_2).erf().add_scalar(1.0) * 0.5;
        let density = (out.clone().square() * -0.5).exp() / (2.0 * std::f64::consts::PI).sqrt();
        outputs.push(primitive(below + out * density));
    }
    outputs
}

pub(super) fn backward<B: BurnBackend>(
    kernel: &Conv1dBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let options = &kernel.options;
    let mut floats = inputs.floats;
    let Some(gradient) = floats.pop() else { return Vec::new() };
    let mut gradient = tensor::<B, 3>(gradient);
    if options.gelu
        && let Some(slope) = floats.pop()
    {
        gradient = gradient * tensor(slope);
    }
    let [x, weight] = Tensors::<B>::floats(floats).take();
    let x = tensor::<B, 3>(x);
    let [_, frames, _] = x.dims();
    let x = padded(x, options.padding);
    let [_, all, _] = x.dims();
    let seen = seen(options, all, weight.shape()[2]);
    let x = primitive(x.narrow(1, 0, seen).swap_dims(1, 2));
    let channels_first = primitive(gradient.clone().swap_dims(1, 2));
    let [with_x, with_weight, with_bias] = kernel.needed;
    let mut outputs = Vec::new();
    if with_x {
        let found = B::conv1d_x_backward(
            x.clone(),
            weight.clone(),
            channels_first.clone(),
            convolution(options),
        );
        let found = padded(tensor::<B, 3>(found).swap_dims(1, 2), [0, all - seen]);
        outputs.push(primitive(found.narrow(1, options.padding[0], frames)));
    }
    if with_weight {
        let found = B::conv1d_weight_backward(x, weight, channels_first, convolution(options));
        outputs.push(found);
    }
    if with_bias {
        let channels = gradient.dims()[2];
        outputs.push(primitive(gradient.sum_dim(0).sum_dim(1).reshape([channels])));
    }
    outputs
}
