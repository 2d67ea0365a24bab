//! In plain tensor operations: the windows spelled out, and matrix products of them.

use super::{Conv1d, Conv1dBackward, geometry::Geometry};
use crate::{
    Tensors,
    plain::{primitive, tensor},
};
use burn::tensor::{
    Tensor, TensorMetadata, activation::gelu, backend::Backend as BurnBackend, ops::FloatTensor,
};

/// With so many zeros before and after it in this dimension.
fn padded<B: BurnBackend, const D: usize>(
    x: Tensor<B, D>,
    dim: usize,
    [before, after]: [usize; 2],
) -> Tensor<B, D> {
    let (device, dtype) = (x.device(), x.dtype());
    let zeros = |count| {
        let mut shape = x.shape();
        shape[dim] = count;
        Tensor::zeros(shape, (&device, dtype))
    };
    let (before, after) = ((before > 0).then(|| zeros(before)), (after > 0).then(|| zeros(after)));
    Tensor::cat(before.into_iter().chain([x]).chain(after).collect(), dim)
}

/// Frames from the first that a tap sees, so many times the stride that all windows have one.
fn reach(geometry: &Geometry) -> usize {
    geometry.frames_out * geometry.options.stride
}

/// What every output frame sees, `[batch, groups, frames_out, kernel * width_in]`.
fn windows<B: BurnBackend>(geometry: &Geometry, x: Tensor<B, 3>) -> Tensor<B, 4> {
    let &Geometry { batch, frames_out, channels_in, .. } = geometry;
    let (groups, width) = (geometry.options.groups, geometry.width_in());
    let stride = geometry.options.stride;
    // The last window's tap may be followed by less than a stride of frames.
    let [before, after] = geometry.options.padding;
    let x = padded(x, 1, [before, after + stride]);
    let taps = (0..geometry.kernel).map(|tap| {
        x.clone()
            .narrow(1, tap * geometry.options.dilation, reach(geometry))
            .reshape([batch, frames_out, stride, channels_in])
            .narrow(2, 0, 1)
            .reshape([batch, frames_out, groups, width])
    });
    Tensor::cat(taps.collect(), 3).swap_dims(1, 2)
}

/// `[1, groups, kernel * width_in, width_out]` of the checkpoint's layout.
fn matrix<B: BurnBackend>(geometry: &Geometry, weight: Tensor<B, 3>) -> Tensor<B, 4> {
    let (groups, kernel) = (geometry.options.groups, geometry.kernel);
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let weight = weight.reshape([groups, width_out, width_in, kernel]).permute([0, 3, 2, 1]);
    weight.reshape([1, groups, kernel * width_in, width_out])
}

pub(super) fn forward<B: BurnBackend>(kernel: &Conv1d, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter();
    let (Some(x), Some(weight)) = (floats.next(), floats.next()) else { return Vec::new() };
    let geometry = Geometry::new(kernel.options, &x.shape(), &weight.shape());
    let windows = windows::<B>(&geometry, tensor(x));
    let out = windows.matmul(matrix(&geometry, tensor(weight)));
    let mut out = out.swap_dims(1, 2).reshape(geometry.out_shape());
    if let Some(bias) = floats.next() {
        out = out + tensor::<B, 1>(bias).reshape([1, 1, geometry.channels_out]);
    }
    if !kernel.options.gelu {
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
    let mut floats = inputs.floats;
    let Some(gradient) = floats.pop() else { return Vec::new() };
    let mut gradient = tensor::<B, 3>(gradient);
    if kernel.options.gelu
        && let Some(slope) = floats.pop()
    {
        gradient = gradient * tensor(slope);
    }
    let [x, weight] = Tensors::<B>::floats(floats).take();
    let geometry = Geometry::new(kernel.options, &x.shape(), &weight.shape());
    let &Geometry { batch, frames, frames_out, channels_in, channels_out, .. } = &geometry;
    let (groups, taps) = (geometry.options.groups, geometry.kernel);
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let apart = gradient.clone().reshape([batch, frames_out, groups, width_out]).swap_dims(1, 2);
    let [with_x, with_weight, with_bias] = kernel.needed;
    let mut outputs = Vec::new();
    if with_x {
        let weight = matrix::<B>(&geometry, tensor(weight)).swap_dims(2, 3);
        let seen = apart.clone().matmul(weight).swap_dims(1, 2);
        let seen = seen.reshape([batch, frames_out, groups, taps, width_in]);
        let (stride, [before, after]) = (geometry.options.stride, geometry.options.padding);
        let all = before + frames + after + stride;
        // Back to the frames where each tap found it.
        let of_tap = |tap: usize| {
            let found = seen.clone().narrow(3, tap, 1);
            let found = found.reshape([batch, frames_out, 1, channels_in]);
            let found = padded(found, 2, [0, stride - 1]);
            let found = found.reshape([batch, reach(&geometry), channels_in]);
            let start = tap * geometry.options.dilation;
            padded(found, 1, [start, all - start - reach(&geometry)])
        };
        let found = (1..taps).map(of_tap).fold(of_tap(0), |sum, found| sum + found);
        outputs.push(primitive(found.narrow(1, before, frames)));
    }
    if with_weight {
        let windows = windows::<B>(&geometry, tensor(x));
        let found = windows.swap_dims(2, 3).matmul(apart).sum_dim(0);
        let found = found.reshape([groups, taps, width_in, width_out]).permute([0, 3, 2, 1]);
        outputs.push(primitive(found.reshape([channels_out, width_in, taps])));
    }
    if with_bias {
        outputs.push(primitive(gradient.sum_dim(0).sum_dim(1).reshape([channels_out])));
    }
    outputs
}
