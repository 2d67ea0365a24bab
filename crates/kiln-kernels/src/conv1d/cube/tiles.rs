//! Products in tiles: a cube a tile, whose operands pass through shared memory.

use super::{Epilogue, Sizes};
use crate::{
    Activation,
    activation::cube::{derivative, value as activated},
    cube::{cube_index, slice_of, zeros},
};
use cubecl::prelude::*;

/// Rows and columns of a tile.
pub(super) const SIDE: usize = 64;

/// Threads of a cube, in a square.
pub(super) const THREADS: u32 = 256;

/// Threads along a side, and steps of the inner dimension in shared memory.
const ACROSS: usize = 16;

/// Rows and columns of a thread.
const EACH: usize = SIDE / ACROSS;

/// A row of shared memory; odd, so that neighbours lie in different banks.
const ROW: usize = SIDE + 1;

/// What window `row` of a sequence has at step `depth` of the inner dimension, taps before channels.
#[cube]
pub(super) fn seen<F: Float>(
    x: &Array<F>,
    sizes: &Sizes,
    batch: usize,
    group: usize,
    row: usize,
    depth: usize,
) -> f32 {
    let (tap, channel) = (depth / sizes.width_in, depth % sizes.width_in);
    let frame = sizes.first + (row * sizes.step) as i32 + (tap * sizes.spacing) as i32;
    let mut value = 0.0f32;
    if frame >= 0 && frame < sizes.frames_in as i32 {
        let at = batch * sizes.frames_in + frame as usize;
        let at = (at * sizes.groups + group) * sizes.width_in + channel;
        value = f32::cast_from(x[at]);
    }
    value
}

/// Writes a value of a product with what follows it.
#[cube]
pub(super) fn write<F: Float>(
    value: f32,
    bias: &Array<F>,
    out: &mut Array<F>,
    slope: &mut Array<F>,
    sizes: &Sizes,
    batch: usize,
    row: usize,
    channel: usize,
    #[comptime] epilogue: Epilogue,
) {
    let frame = sizes.first_out + row * sizes.step_out;
    let channels = sizes.groups * sizes.width_out;
    let at = (batch * sizes.frames_out + frame) * channels + channel;
    let mut value = value;
    if comptime!(epilogue.bias) {
        value += f32::cast_from(bias[channel]);
    }
    if comptime!(epilogue.slope) {
        slope[at] = F::cast_from(derivative(value, Activation::Gelu));
    }
    if comptime!(epilogue.gelu) {
        value = activated(value, Activation::Gelu);
    }
    out[at] = F::cast_from(value);
}

/// Adds the products of a block in shared memory to a thread's sums: rows side by side, columns
/// [`ACROSS`] apart.
#[cube]
fn accumulate(
    left: &SharedMemory<f32>,
    right: &SharedMemory<f32>,
    sums: &mut Array<f32>,
    thread_row: usize,
    thread_column: usize,
) {
    for step in 0..comptime!(ACROSS) {
        let mut values = Array::<f32>::new(comptime!(EACH));
        #[unroll]
        for index in 0..comptime!(EACH) {
            values[index] =
                right[step * comptime!(ROW) + thread_column + index * comptime!(ACROSS)];
        }
        #[unroll]
        for row in 0..comptime!(EACH) {
            let factor = left[step * comptime!(ROW) + thread_row * comptime!(EACH) + row];
            #[unroll]
            for column in 0..comptime!(EACH) {
                sums[row * comptime!(EACH) + column] += factor * values[column];
            }
        }
    }
}

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
    let tile = cube_index(count);
    let (rows, width, groups) = (sizes.rows, sizes.width_out, sizes.groups);
    let row_tiles = rows.div_ceil(comptime!(SIDE));
    let column_tiles = width.div_ceil(comptime!(SIDE));
    let first_column = tile % column_tiles * comptime!(SIDE);
    let first_row = tile / column_tiles % row_tiles * comptime!(SIDE);
    let sequence = tile / column_tiles / row_tiles;
    let (batch, group) = (sequence / groups, sequence % groups);
    let depth = sizes.taps * sizes.width_in;

    let unit = UNIT_POS as usize;
    let (thread_row, thread_column) = (unit / comptime!(ACROSS), unit % comptime!(ACROSS));
    let mut left = SharedMemory::<f32>::new(comptime!(ACROSS * ROW));
    let mut right = SharedMemory::<f32>::new(comptime!(ACROSS * ROW));
    let mut sums = zeros(comptime!(EACH * EACH));
    for start in range_stepped(0usize, depth, comptime!(ACROSS)) {
        #[unroll]
        for index in 0..comptime!(EACH) {
            // Neighbours read neighbouring channels of a row, and columns of the weight.
            let at = unit + index * comptime!(THREADS as usize);
            let (row, step) = (at / comptime!(ACROSS), at % comptime!(ACROSS));
            let mut value = 0.0f32;
            if first_row + row < rows && start + step < depth {
                value = seen::<F>(x, &sizes, batch, group, first_row + row, start + step);
            }
            left[step * comptime!(ROW) + row] = value;
            let (step, column) = (at / comptime!(SIDE), at % comptime!(SIDE));
            let mut value = 0.0f32;
            if start + step < depth && first_column + column < width {
                let from = (group * depth + start + step) * width + first_column + column;
                value = f32::cast_from(weight[from]);
            }
            right[step * comptime!(ROW) + column] = value;
        }
        sync_cube();
        accumulate(&left, &right, &mut sums, thread_row, thread_column);
        sync_cube();
    }
    #[unroll]
    for row in 0..comptime!(EACH) {
        #[unroll]
        for column in 0..comptime!(EACH) {
            let to_row = first_row + thread_row * comptime!(EACH) + row;
            let to_column = first_column + thread_column + column * comptime!(ACROSS);
            if to_row < rows && to_column < width {
                write::<F>(
                    sums[row * comptime!(EACH) + column],
                    bias,
                    out,
                    slope,
                    &sizes,
                    batch,
                    to_row,
                    group * width + to_column,
                    epilogue,
                );
            }
        }
    }
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
    let tile = cube_index(count);
    let (rows, width, groups) = (sizes.rows, sizes.width_out, sizes.groups);
    let depth = sizes.taps * sizes.width_in;
    let depth_tiles = depth.div_ceil(comptime!(SIDE));
    let column_tiles = width.div_ceil(comptime!(SIDE));
    let first_column = tile % column_tiles * comptime!(SIDE);
    let first_depth = tile / column_tiles % depth_tiles * comptime!(SIDE);
    let rest = tile / column_tiles / depth_tiles;
    let (part, group) = (rest / groups, rest % groups);
    let all = rows * sizes.batch;
    let (begin, end) = slice_of(part, all.div_ceil(parts), all);

    let unit = UNIT_POS as usize;
    let (thread_row, thread_column) = (unit / comptime!(ACROSS), unit % comptime!(ACROSS));
    let mut left = SharedMemory::<f32>::new(comptime!(ACROSS * ROW));
    let mut right = SharedMemory::<f32>::new(comptime!(ACROSS * ROW));
    let mut sums = zeros(comptime!(EACH * EACH));
    for start in range_stepped(begin, end, comptime!(ACROSS)) {
        #[unroll]
        for index in 0..comptime!(EACH) {
            let at = unit + index * comptime!(THREADS as usize);
            let (step, along) = (at / comptime!(SIDE), at % comptime!(SIDE));
            let row = start + step;
            let mut value = 0.0f32;
            let mut slope = 0.0f32;
            if row < end {
                let (batch, row) = (row / rows, row % rows);
                if first_depth + along < depth {
                    value = seen::<F>(x, &sizes, batch, group, row, first_depth + along);
                }
                if first_column + along < width {
                    let from = (batch * rows + row) * groups * width + group * width;
                    slope = f32::cast_from(gradient[from + first_column + along]);
                }
            }
            left[step * comptime!(ROW) + along] = value;
            right[step * comptime!(ROW) + along] = slope;
        }
        sync_cube();
        accumulate(&left, &right, &mut sums, thread_row, thread_column);
        sync_cube();
    }
    #[unroll]
    for row in 0..comptime!(EACH) {
        #[unroll]
        for column in 0..comptime!(EACH) {
            let to_depth = first_depth + thread_row * comptime!(EACH) + row;
            let to_column = first_column + thread_column + column * comptime!(ACROSS);
            if to_depth < depth && to_column < width {
                let at = (part * depth + to_depth) * groups * width + group * width + to_column;
                partial[at] = sums[row * comptime!(EACH) + column];
            }
        }
    }
}
