//! A thread a value: for groups of few channels, depthwise convolutions above all. Neighbours read
//! neighbouring channels.

use super::{
    Epilogue, Sizes,
    tiles::{seen, write},
};
use crate::cube::{slice_of, thread_index};
use cubecl::prelude::*;

/// Overlapping rows times `[groups, taps * width_in, width_out]`.
#[cube(launch)]
pub(super) fn product<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    out: &mut Array<F>,
    slope: &mut Array<F>,
    count: usize,
    sizes: Sizes,
    #[comptime] epilogue: Epilogue,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let (rows, width) = (sizes.rows, sizes.width_out);
    let channels = width * sizes.groups;
    let channel = position % channels;
    let row = position / channels % rows;
    let batch = position / channels / rows;
    let group = channel / width;
    let depth = sizes.taps * sizes.width_in;
    let mut sum = 0.0f32;
    for step in 0..depth {
        let factor = f32::cast_from(weight[(group * depth + step) * width + channel % width]);
        sum += factor * seen::<F>(x, &sizes, batch, group, row, step);
    }
    write::<F>(sum, bias, out, slope, &sizes, batch, row, channel, epilogue);
}

/// `[parts, taps * width_in, channels_out]`: each part over its share of all output frames.
#[cube(launch)]
pub(super) fn weight_gradient<F: Float>(
    x: &Array<F>,
    gradient: &Array<F>,
    partial: &mut Array<f32>,
    count: usize,
    sizes: Sizes,
    parts: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let rows = sizes.rows;
    let channels = sizes.width_out * sizes.groups;
    let depth = sizes.taps * sizes.width_in;
    let channel = position % channels;
    let step = position / channels % depth;
    let all = rows * sizes.batch;
    let (first, end) = slice_of(position / channels / depth, all.div_ceil(parts), all);
    let group = channel / sizes.width_out;
    let mut sum = 0.0f32;
    for row in first..end {
        let value = seen::<F>(x, &sizes, row / rows, group, row % rows, step);
        sum += value * f32::cast_from(gradient[row * channels + channel]);
    }
    partial[position] = sum;
}
