//! What goes before and after the products: weights in their order, sums of parts, the slope.

use crate::{
    conv1d::geometry::Geometry,
    cube::{SLICE, add_slices, buffer, cubes_elementwise, launch},
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
        cubes_elementwise(count),
        [weight, packed],
        count as u32,
        geometry.kernel as u32,
        geometry.width_in() as u32,
        geometry.width_out() as u32,
        taps.len() as u32,
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
    count: u32,
    kernel: u32,
    width_in: u32,
    width_out: u32,
    taps: u32,
    first: i32,
    step: i32,
    #[comptime] swapped: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = ABSOLUTE_POS;
    if position >= count as usize {
        terminate!();
    }
    let (width_in, width_out) = (width_in as usize, width_out as usize);
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
    let index = position / inner / outer % taps as usize;
    let group = position / inner / outer / taps as usize;
    let tap = (first + index as i32 * step) as usize;
    let from = (group * width_out + out) * width_in + channel;
    packed[position] = weight[from * kernel as usize + tap];
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
        cubes_elementwise(shape.iter().product()),
        [partial, out],
        partial.shape()[0] as u32,
        geometry.kernel as u32,
        geometry.width_in() as u32,
        geometry.channels_out as u32,
        dtype.into(),
    );
    out
}

#[cube(launch)]
fn unpack_value<F: Float>(
    partial: &Array<f32>,
    out: &mut Array<F>,
    parts: u32,
    kernel: u32,
    width: u32,
    channels: u32,
    #[define(F)] _dtype: StorageType,
) {
    let (kernel, width) = (kernel as usize, width as usize);
    let channels = channels as usize;
    let position = ABSOLUTE_POS;
    if position >= kernel * width * channels {
        terminate!();
    }
    // Neighbours read neighbouring output channels.
    let channel = position % channels;
    let step = position / channels;
    let mut total = 0.0f32;
    for part in 0..parts as usize {
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
    let count = gradient.shape().num_elements();
    launch!(
        multiply_value,
        gradient,
        cubes_elementwise(count),
        [gradient, slope, out],
        count as u32,
        gradient.dtype.into(),
    );
    out
}

#[cube(launch)]
fn multiply_value<F: Float>(
    gradient: &Array<F>,
    slope: &Array<F>,
    out: &mut Array<F>,
    count: u32,
    #[define(F)] _dtype: StorageType,
) {
    let position = ABSOLUTE_POS;
    if position >= count as usize {
        terminate!();
    }
    out[position] = gradient[position] * slope[position];
}

/// The sum of every column.
pub(super) fn column_sums<R: CubeRuntime>(values: &CubeTensor<R>, columns: usize) -> CubeTensor<R> {
    let rows = values.shape().num_elements() / columns.max(1);
    let slices = rows.div_ceil(SLICE);
    let partial = buffer(values, [slices, columns], DType::F32);
    launch!(
        slice_sums,
        values,
        cubes_elementwise(slices * columns),
        [values, partial],
        rows as u32,
        columns as u32,
        values.dtype.into(),
    );
    add_slices(&partial, values.dtype)
}

#[cube(launch)]
fn slice_sums<F: Float>(
    values: &Array<F>,
    partial: &mut Array<f32>,
    rows: u32,
    columns: u32,
    #[define(F)] _dtype: StorageType,
) {
    let (rows, columns) = (rows as usize, columns as usize);
    let position = ABSOLUTE_POS;
    if position >= rows.div_ceil(comptime!(SLICE)) * columns {
        terminate!();
    }
    let first = position / columns * comptime!(SLICE);
    let mut end = first + comptime!(SLICE);
    if end > rows {
        end = rows;
    }
    let mut sum = 0.0f32;
    for row in first..end {
        sum += f32::cast_from(values[row * columns + position % columns]);
    }
    partial[position] = sum;
}
