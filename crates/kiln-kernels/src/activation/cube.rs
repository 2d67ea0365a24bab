//! On GPUs: a thread a value; with a bias gradient, a thread a column of a slice of rows.

use super::{
    Activate, ActivateBackward, Activation, Gated, GatedBackward,
    scalar::{
        NORMAL_DENSITY, NORMAL_SCALE, NORMAL_TAIL, SIGMOID_SCALE, TANH_CUBE, TANH_END, TANH_SCALE,
    },
};
use crate::{
    cube::{CubeTensors, SLICE, add_slices, buffer, launch, slice_of, thread_index},
    plain,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// `1 / (1 + e^-x)`; no exponential overflows.
#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-clamp(x, -88.0f32, 88.0f32)).exp())
}

/// The normal distribution function at x, where `e` is `e^(-x²/2)`.
#[cube]
fn normal(x: f32, e: f32) -> f32 {
    let t = 1.0f32 / (1.0f32 + NORMAL_SCALE * x.abs());
    let mut p = comptime!(NORMAL_TAIL[0]) * t + comptime!(NORMAL_TAIL[1]);
    p = p * t + comptime!(NORMAL_TAIL[2]);
    p = p * t + comptime!(NORMAL_TAIL[3]);
    p = p * t + comptime!(NORMAL_TAIL[4]);
    p = p * t + comptime!(NORMAL_TAIL[5]);
    p = p * t + comptime!(NORMAL_TAIL[6]);
    p = p * t + comptime!(NORMAL_TAIL[7]);
    p = p * t + comptime!(NORMAL_TAIL[8]);
    let tail = p * e;
    select(x < 0.0f32, tail, 1.0f32 - tail)
}

/// `e^(-x²/2)`, zero far out without squaring large numbers.
#[cube]
fn bell(x: f32) -> f32 {
    let x = clamp(x, -13.0f32, 13.0f32);
    (-0.5f32 * x * x).exp()
}

/// What x is multiplied with to approximate the normal distribution function's product.
#[cube]
fn tanh_normal(x: f32) -> f32 {
    sigmoid(TANH_SCALE * x * (1.0f32 + TANH_CUBE * x * x))
}

/// An activation's value.
#[cube]
pub(crate) fn value(x: f32, #[comptime] activation: Activation) -> f32 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => max(x, 0.0f32),
        Activation::Gelu => x * normal(x, bell(x)),
        Activation::GeluTanh => x * tanh_normal(clamp(x, -TANH_END, TANH_END)),
        Activation::GeluSigmoid => x * sigmoid(SIGMOID_SCALE * x),
        Activation::Silu => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => 2.0f32 * sigmoid(2.0f32 * x) - 1.0f32,
    }
}

/// An activation's derivative.
#[cube]
pub(crate) fn derivative(x: f32, #[comptime] activation: Activation) -> f32 {
    match activation {
        Activation::Identity => 1.0f32.runtime(),
        Activation::Relu => select(x > 0.0f32, 1.0f32, 0.0f32),
        Activation::Gelu => {
            let e = bell(x);
            normal(x, e) + x * e * NORMAL_DENSITY
        }
        Activation::GeluTanh => {
            let x = clamp(x, -TANH_END, TANH_END);
            let s = tanh_normal(x);
            s + x * s * (1.0f32 - s) * TANH_SCALE * (1.0f32 + 3.0f32 * TANH_CUBE * x * x)
        }
        Activation::GeluSigmoid => swish_derivative(x, SIGMOID_SCALE),
        Activation::Silu => swish_derivative(x, 1.0f32),
        Activation::Sigmoid => {
            let s = sigmoid(x);
            s * (1.0f32 - s)
        }
        Activation::Tanh => {
            let t = 2.0f32 * sigmoid(2.0f32 * x) - 1.0f32;
            1.0f32 - t * t
        }
    }
}

/// That of `x sigmoid(scale x)`.
#[cube]
fn swish_derivative(x: f32, scale: f32) -> f32 {
    let s = sigmoid(scale * x);
    s + s * (1.0f32 - s) * x * scale
}

pub(super) fn activate<R: CubeRuntime>(
    kernel: &Activate,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let x = &inputs.floats[0];
    let shape = x.shape();
    let width = shape.iter().last().copied().unwrap_or(1);
    let out = buffer(x, shape.clone(), x.dtype);
    launch!(
        activate_value,
        x,
        threads(shape.num_elements()),
        [x, inputs.floats.get(1).unwrap_or(x), out],
        width,
        kernel.activation,
        kernel.bias,
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn activate_value<F: Float>(
    x: &Array<F>,
    bias: &Array<F>,
    out: &mut Array<F>,
    count: usize,
    width: usize,
    #[comptime] activation: Activation,
    #[comptime] with_bias: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let mut input = f32::cast_from(x[position]);
    if with_bias {
        input += f32::cast_from(bias[position % width]);
    }
    out[position] = F::cast_from(value(input, activation));
}

pub(super) fn activate_backward<R: CubeRuntime>(
    kernel: &ActivateBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let x = &inputs.floats[0];
    let shape = x.shape();
    let (rows, width) = plain::rows(&shape);
    let x_gradient = buffer(x, shape.clone(), x.dtype);
    // Without sums a slice is a row: a thread a value.
    let slice = if kernel.bias_gradient { SLICE } else { 1 };
    let slices = rows.div_ceil(slice);
    let sums = if kernel.bias_gradient { [slices, width] } else { [1, 1] };
    let partial = buffer(x, sums, DType::F32);
    let bias = if kernel.bias { &inputs.floats[1] } else { x };
    launch!(
        activate_backward_slice,
        x,
        threads(slices * width),
        [x, bias, inputs.floats[inputs.floats.len() - 1], x_gradient, partial],
        rows,
        width,
        slice,
        kernel.activation,
        kernel.bias,
        kernel.bias_gradient,
        x.dtype.into(),
    );
    if kernel.bias_gradient {
        vec![x_gradient, add_slices(&partial, x.dtype)]
    } else {
        vec![x_gradient]
    }
}

#[cube(launch)]
fn activate_backward_slice<F: Float>(
    x: &Array<F>,
    bias: &Array<F>,
    gradient: &Array<F>,
    x_gradient: &mut Array<F>,
    partial: &mut Array<f32>,
    count: usize,
    rows: usize,
    width: usize,
    #[comptime] slice: usize,
    #[comptime] activation: Activation,
    #[comptime] with_bias: bool,
    #[comptime] with_sums: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let column = position % width;
    let (first, end) = slice_of(position / width, slice, rows);
    let mut offset = 0.0f32;
    if with_bias {
        offset = f32::cast_from(bias[column]);
    }
    let mut sum = 0.0f32;
    for row in first..end {
        let at = row * width + column;
        let slope = derivative(f32::cast_from(x[at]) + offset, activation);
        let found = f32::cast_from(gradient[at]) * slope;
        x_gradient[at] = F::cast_from(found);
        sum += found;
    }
    if with_sums {
        partial[position] = sum;
    }
}

pub(super) fn gated<R: CubeRuntime>(kernel: &Gated, inputs: &CubeTensors<R>) -> Vec<CubeTensor<R>> {
    let x = &inputs.floats[0];
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    let out = buffer(x, shape.clone(), x.dtype);
    launch!(
        gated_value,
        x,
        threads(shape.num_elements()),
        [x, out],
        shape[last],
        kernel.activation,
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn gated_value<F: Float>(
    x: &Array<F>,
    out: &mut Array<F>,
    count: usize,
    hidden: usize,
    #[comptime] activation: Activation,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let gate = position / hidden * hidden + position;
    let activated = value(f32::cast_from(x[gate]), activation);
    out[position] = F::cast_from(activated * f32::cast_from(x[gate + hidden]));
}

pub(super) fn gated_backward<R: CubeRuntime>(
    kernel: &GatedBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, gradient] = [0, 1].map(|index| &inputs.floats[index]);
    let shape = gradient.shape();
    let out = buffer(x, x.shape(), x.dtype);
    launch!(
        gated_backward_value,
        x,
        threads(shape.num_elements()),
        [x, gradient, out],
        shape[shape.num_dims() - 1],
        kernel.activation,
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn gated_backward_value<F: Float>(
    x: &Array<F>,
    gradient: &Array<F>,
    out: &mut Array<F>,
    count: usize,
    hidden: usize,
    #[comptime] activation: Activation,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let at = position / hidden * hidden + position;
    let gate = f32::cast_from(x[at]);
    let gated = f32::cast_from(x[at + hidden]);
    let gradient = f32::cast_from(gradient[position]);
    out[at] = F::cast_from(gradient * gated * derivative(gate, activation));
    out[at + hidden] = F::cast_from(gradient * value(gate, activation));
}
