//! On GPUs: a thread a channel of a slice of frames for the sums, a cube a group to add them up, a
//! thread a value for the rest.

use super::{GroupNorm, GroupNormBackward};
use crate::{
    Activation,
    activation::cube::{derivative, value as activated},
    cube::{
        CubeTensors, ROW_THREADS, SLICE, buffer, cube_index, cube_sum, launch, slice_of,
        thread_index,
    },
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn forward<R: CubeRuntime>(
    norm: &GroupNorm,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, weight, bias] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let [batch, frames, channels] = x.shape().dims();
    let groups = norm.options.groups;
    let slices = frames.div_ceil(SLICE);
    let moments = buffer(x, [batch, slices, channels, 2], DType::F32);
    launch!(
        slice_moments,
        x,
        threads(batch * slices * channels),
        [x, moments],
        frames,
        channels,
        x.dtype.into(),
    );
    let statistics = buffer(x, [batch, groups, 2], DType::F32);
    launch!(
        group_moments,
        x,
        cubes(batch * groups),
        [moments, statistics],
        frames,
        channels,
        groups,
        norm.options.epsilon as f32,
    );
    let out = buffer(x, x.shape(), x.dtype);
    launch!(
        normalise,
        x,
        threads(batch * frames * channels),
        [x, weight, bias, statistics, out],
        frames,
        channels,
        groups,
        norm.options.gelu,
        x.dtype.into(),
    );
    vec![out, statistics]
}

/// For every channel of a slice: its mean and the sum of squared distances from it.
#[cube(launch)]
fn slice_moments<F: Float>(
    x: &Array<F>,
    moments: &mut Array<f32>,
    count: usize,
    frames: usize,
    channels: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let slices = frames.div_ceil(comptime!(SLICE));
    let channel = position % channels;
    let (first, end) = slice_of(position / channels % slices, SLICE, frames);
    let start = position / channels / slices * frames;
    let mut mean = 0.0f32;
    for frame in first..end {
        mean += f32::cast_from(x[(start + frame) * channels + channel]);
    }
    mean /= f32::cast_from((end - first) as u32);
    let mut squares = 0.0f32;
    for frame in first..end {
        let distance = f32::cast_from(x[(start + frame) * channels + channel]) - mean;
        squares += distance * distance;
    }
    moments[position * 2] = mean;
    moments[position * 2 + 1] = squares;
}

/// A group's mean and one over its deviation, from the moments of its channels' slices.
#[cube(launch)]
fn group_moments(
    moments: &Array<f32>,
    statistics: &mut Array<f32>,
    count: usize,
    frames: usize,
    channels: usize,
    groups: usize,
    epsilon: f32,
) {
    let position = cube_index(count);
    let slices = frames.div_ceil(comptime!(SLICE));
    let width = channels / groups;
    let start = position / groups * slices * channels + position % groups * width;
    let share = 1.0f32 / f32::cast_from((frames * width) as u32);
    let step = comptime!(ROW_THREADS as usize);

    let mut total = 0.0f32;
    for index in range_stepped(UNIT_POS as usize, slices * width, step) {
        let count = slice_length(index / width, frames);
        total += count * moments[(start + index / width * channels + index % width) * 2];
    }
    let mean = cube_sum(total) * share;
    let mut squares = 0.0f32;
    for index in range_stepped(UNIT_POS as usize, slices * width, step) {
        let count = slice_length(index / width, frames);
        let at = (start + index / width * channels + index % width) * 2;
        let distance = moments[at] - mean;
        squares += moments[at + 1] + count * distance * distance;
    }
    let variance = cube_sum(squares) * share;
    if UNIT_POS == 0 {
        statistics[position * 2] = mean;
        statistics[position * 2 + 1] = 1.0f32 / (variance + epsilon).sqrt();
    }
}

/// Frames of a slice.
#[cube]
fn slice_length(slice: usize, frames: usize) -> f32 {
    let (first, end) = slice_of(slice, SLICE, frames);
    f32::cast_from((end - first) as u32)
}

#[cube(launch)]
fn normalise<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    statistics: &Array<f32>,
    out: &mut Array<F>,
    count: usize,
    frames: usize,
    channels: usize,
    groups: usize,
    #[comptime] with_gelu: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let channel = position % channels;
    let at = group_of(position, frames, channels, groups) * 2;
    let normal = (f32::cast_from(x[position]) - statistics[at]) * statistics[at + 1];
    let mut value = normal * f32::cast_from(weight[channel]) + f32::cast_from(bias[channel]);
    if with_gelu {
        value = activated(value, Activation::Gelu);
    }
    out[position] = F::cast_from(value);
}

/// The group that a value belongs to, counted over all sequences.
#[cube]
fn group_of(position: usize, frames: usize, channels: usize, groups: usize) -> usize {
    position / channels / frames * groups + position % channels / (channels / groups)
}

/// The gradient of a value before GELU.
#[cube]
fn before_gelu(
    gradient: f32,
    normal: f32,
    weight: f32,
    bias: f32,
    #[comptime] with_gelu: bool,
) -> f32 {
    let mut gradient = gradient;
    if with_gelu {
        gradient *= derivative(normal * weight + bias, Activation::Gelu);
    }
    gradient
}

pub(super) fn backward<R: CubeRuntime>(
    norm: &GroupNormBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, weight, bias, statistics, gradient] =
        [0, 1, 2, 3, 4].map(|index| &inputs.floats[index]);
    let [batch, frames, channels] = x.shape().dims();
    let (groups, gelu) = (norm.options.groups, norm.options.gelu);
    let slices = frames.div_ceil(SLICE);
    let partial = buffer(x, [batch, slices, channels, 2], DType::F32);
    launch!(
        slice_sums,
        x,
        threads(batch * slices * channels),
        [x, weight, bias, statistics, gradient, partial],
        frames,
        channels,
        groups,
        gelu,
        x.dtype.into(),
    );
    let mut outputs = vec![buffer(x, [channels], x.dtype), buffer(x, [channels], x.dtype)];
    launch!(
        channel_sums,
        x,
        threads(channels),
        [partial, outputs[0], outputs[1]],
        batch * slices,
        x.dtype.into(),
    );
    if norm.with_x {
        let means = buffer(x, [batch, groups, 2], DType::F32);
        launch!(
            group_means,
            x,
            cubes(batch * groups),
            [partial, weight, means],
            frames,
            channels,
            groups,
            x.dtype.into(),
        );
        let out = buffer(x, x.shape(), x.dtype);
        launch!(
            x_gradient,
            x,
            threads(batch * frames * channels),
            [x, weight, bias, statistics, gradient, means, out],
            frames,
            channels,
            groups,
            gelu,
            x.dtype.into(),
        );
        outputs.push(out);
    }
    outputs
}

/// For every channel of a slice: the sum of the gradient times the normalised x, and that of the
/// gradient.
#[cube(launch)]
fn slice_sums<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    statistics: &Array<f32>,
    gradient: &Array<F>,
    partial: &mut Array<f32>,
    count: usize,
    frames: usize,
    channels: usize,
    groups: usize,
    #[comptime] with_gelu: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let slices = frames.div_ceil(comptime!(SLICE));
    let channel = position % channels;
    let sequence = position / channels / slices;
    let (first, end) = slice_of(position / channels % slices, SLICE, frames);
    let at = (sequence * groups + channel / (channels / groups)) * 2;
    let (mean, inverse) = (statistics[at], statistics[at + 1]);
    let (weight, bias) = (f32::cast_from(weight[channel]), f32::cast_from(bias[channel]));
    let mut along = 0.0f32;
    let mut level = 0.0f32;
    for frame in first..end {
        let from = (sequence * frames + frame) * channels + channel;
        let normal = (f32::cast_from(x[from]) - mean) * inverse;
        let gradient = before_gelu(f32::cast_from(gradient[from]), normal, weight, bias, with_gelu);
        along += gradient * normal;
        level += gradient;
    }
    partial[position * 2] = along;
    partial[position * 2 + 1] = level;
}

/// The gradients of weight and bias.
#[cube(launch)]
fn channel_sums<F: Float>(
    partial: &Array<f32>,
    of_weight: &mut Array<F>,
    of_bias: &mut Array<F>,
    channels: usize,
    slices: usize,
    #[define(F)] _dtype: StorageType,
) {
    let channel = thread_index(channels);
    let mut along = 0.0f32;
    let mut level = 0.0f32;
    for slice in 0..slices {
        along += partial[(slice * channels + channel) * 2];
        level += partial[(slice * channels + channel) * 2 + 1];
    }
    of_weight[channel] = F::cast_from(along);
    of_bias[channel] = F::cast_from(level);
}

/// A group's means of the weighted gradient times the normalised x, and of the weighted gradient.
#[cube(launch)]
fn group_means<F: Float>(
    partial: &Array<f32>,
    weight: &Array<F>,
    means: &mut Array<f32>,
    count: usize,
    frames: usize,
    channels: usize,
    groups: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = cube_index(count);
    let slices = frames.div_ceil(comptime!(SLICE));
    let width = channels / groups;
    let first = position % groups * width;
    let start = position / groups * slices * channels;
    let mut along = 0.0f32;
    let mut level = 0.0f32;
    let step = comptime!(ROW_THREADS as usize);
    for index in range_stepped(UNIT_POS as usize, slices * width, step) {
        let channel = first + index % width;
        let at = (start + index / width * channels + channel) * 2;
        let weight = f32::cast_from(weight[channel]);
        along += weight * partial[at];
        level += weight * partial[at + 1];
    }
    let share = 1.0f32 / f32::cast_from((frames * width) as u32);
    let along = cube_sum(along) * share;
    let level = cube_sum(level) * share;
    if UNIT_POS == 0 {
        means[position * 2] = along;
        means[position * 2 + 1] = level;
    }
}

#[cube(launch)]
fn x_gradient<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    statistics: &Array<f32>,
    gradient: &Array<F>,
    means: &Array<f32>,
    out: &mut Array<F>,
    count: usize,
    frames: usize,
    channels: usize,
    groups: usize,
    #[comptime] with_gelu: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let channel = position % channels;
    let at = group_of(position, frames, channels, groups) * 2;
    let (weight, bias) = (f32::cast_from(weight[channel]), f32::cast_from(bias[channel]));
    let normal = (f32::cast_from(x[position]) - statistics[at]) * statistics[at + 1];
    let gradient = f32::cast_from(gradient[position]);
    let scaled = before_gelu(gradient, normal, weight, bias, with_gelu) * weight;
    let value = (scaled - means[at + 1] - normal * means[at]) * statistics[at + 1];
    out[position] = F::cast_from(value);
}
