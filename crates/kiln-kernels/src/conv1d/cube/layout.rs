//! What goes before and after the products: weights in their order, sums of parts, the slope.

use crate::{
    conv1d::geometry::Geometry,
    cube::{buffer, launch, thread_index},
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// `[groups, kernel * width_in, width_out]` of the checkpoint's `[channels_out, width_in, kernel]`.
pub(super) fn forward<R: CubeRuntime>(
    geometry: &Geometry,
    weight: &CubeTensor<R>,
) -> CubeTensor<R> {
    let taps: Vec<usize> = (0..geometry.kernel).collect();
    pack(geometry, weight, &taps, false)
}

/// `[groups, taps * width_out, width_in]` for the windows of one phase of the input gradient.
pub(super) fn x_gradient<R: CubeRuntime>(
    geometry: &Geometry,
    weight: &CubeTensor<R>,
    taps: &[usize],
) -> CubeTensor<R> {
    pack(geometry, weight, taps, true)
}

fn pack<R: CubeRuntime>(
    geometry: &Geometry,
    weight: &CubeTensor<R>,
    taps: &[usize],
    swapped: bool,
) -> CubeTensor<R> {
    let count = geometry.channels_out * geometry.width_in() * taps.len();
    let packed = buffer(weight, [count.max(1)], weight.dtype);
    // Taps of a phase are the same distance apart.
    let (first, step) = match taps {
        [first, second, ..] => (*first as i32, *second as i32 - *first as i32),
        [first] => (*first as i32, 0),
        [] => return packed,
    };
    launch!(
        pack_value,
        weight,
        threads(count),
        [weight, packed],
        geometry.kernel,
        geometry.width_in(),
        geometry.width_out(),
        taps.len(),
        first,
        step,
        swapped,
        weight.dtype.into(),
    );
    packed
}

#[cube(launch)]
fn pack_value<F: Float>(
    weight: &Array<F>,
    packed: &mut Array<F>,
    count: usize,
    kernel: usize,
    width_in: usize,
    width_out: usize,
    taps: usize,
    first: i32,
    step: i32,
    #[comptime] swapped: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let mut inner = width_out;
    let mut outer = width_in;
    if swapped {
        inner = width_in;
        outer = width_out;
    }
    let mut out = position % inner;
    let mut channel = position / inner % outer;
    if swapped {
        channel = position % inner;
        out = position / inner % outer;
    }
    let index = position / inner / outer % taps;
    let group = position / inner / outer / taps;
    let tap = (first + index as i32 * step) as usize;
    let from = (group * width_out + out) * width_in + channel;
    packed[position] = weight[from * kernel + tap];
}

/// The checkpoint's layout, in this type, of the sum of `[parts, kernel * width_in, channels_out]`.
pub(super) fn unpack<R: CubeRuntime>(
    geometry: &Geometry,
    partial: &CubeTensor<R>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = [geometry.channels_out, geometry.width_in(), geometry.kernel];
    let out = buffer(partial, shape, dtype);
    launch!(
        unpack_value,
        partial,
        threads(shape.iter().product()),
        [partial, out],
        partial.shape()[0],
        geometry.kernel,
        geometry.width_in(),
        geometry.channels_out,
        dtype.into(),
    );
    out
}

#[cube(launch)]
fn unpack_value<F: Float>(
    partial: &Array<f32>,
    out: &mut Array<F>,
    count: usize,
    parts: usize,
    kernel: usize,
    width: usize,
    channels: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    // Neighbours read neighbouring output channels.
    let channel = position % channels;
    let step = position / channels;
    let mut total = 0.0f32;
    for part in 0..parts {
        total += partial[(part * kernel * width + step) * channels + channel];
    }
    out[(channel * width + step % width) * kernel + step / width] = F::cast_from(total);
}

/// The gradient times the slope.
pub(super) fn multiply<R: CubeRuntime>(
    gradient: &CubeTensor<R>,
    slope: &CubeTensor<R>,
) -> CubeTensor<R> {
    let out = buffer(gradient, gradient.shape(), gradient.dtype);
    launch!(
        multiply_value,
        gradient,
        threads(gradient.shape().num_elements()),
        [gradient, slope, out],
        gradient.dtype.into(),
    );
    out
}

#[cube(launch)]
fn multiply_value<F: Float>(
    gradient: &Array<F>,
    slope: &Array<F>,
    out: &mut Array<F>,
    count: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    out[position] = gradient[position] * slope[position];
}
