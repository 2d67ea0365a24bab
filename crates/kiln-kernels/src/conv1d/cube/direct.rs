//! A thread a value: for groups of few channels, depthwise convolutions above all. Neighbours read
//! neighbouring channels.

use super::{
    Sizes,
    tiles::{seen, write},
};
use cubecl::prelude::*;

/// Overlapping rows times `[groups, taps * width_in, width_out]`.
#[cube(launch)]
pub(super) fn product<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    out: &mut Array<F>,
    slope: &mut Array<F>,
    sizes: Sizes,
    #[comptime] with_bias: bool,
    #[comptime] with_gelu: bool,
    #[comptime] with_slope: bool,
    #[define(F)] _dtype: StorageType,
) {
    let (rows, width) = (sizes.rows as usize, sizes.width_out as usize);
    let channels = width * sizes.groups as usize;
    let position = ABSOLUTE_POS;
    if position >= sizes.batch as usize * rows * channels {
        terminate!();
    }
    let channel = position % channels;
    let row = position / channels % rows;
    let batch = position / channels / rows;
    let group = channel / width;
    let depth = (sizes.taps * sizes.width_in) as usize;
    let mut sum = 0.0f32;
    for step in 0..depth {
        let factor = f32::cast_from(weight[(group * depth + step) * width + channel % width]);
        sum += factor * seen::<F>(x, &sizes, batch, group, row, step);
    }
    write::<F>(
        sum, bias, out, slope, &sizes, batch, row, channel, with_bias, with_gelu, with_slope,
    );
}

/// `[parts, taps * width_in, channels_out]`: each part over its share of all output frames.
#[cube(launch)]
pub(super) fn weight_gradient<F: Float>(
    x: &Array<F>,
    gradient: &Array<F>,
    partial: &mut Array<f32>,
    sizes: Sizes,
    parts: u32,
    #[define(F)] _dtype: StorageType,
) {
    let (rows, parts) = (sizes.rows as usize, parts as usize);
    let channels = (sizes.width_out * sizes.groups) as usize;
    let depth = (sizes.taps * sizes.width_in) as usize;
    let position = ABSOLUTE_POS;
    if position >= parts * depth * channels {
        terminate!();
    }
    let channel = position % channels;
    let step = position / channels % depth;
    let part = position / channels / depth;
    let all = rows * sizes.batch as usize;
    let each = all.div_ceil(parts);
    let mut end = part * each + each;
    if end > all {
        end = all;
    }
    let group = channel / sizes.width_out as usize;
    let mut sum = 0.0f32;
    for row in part * each..end {
        let value = seen::<F>(x, &sizes, row / rows, group, row % rows, step);
        sum += value * f32::cast_from(gradient[row * channels + channel]);
    }
    partial[position] = sum;
}
