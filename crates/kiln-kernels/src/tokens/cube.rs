//! On GPUs: a thread a value forward. Backward, what was picked from a row is a chain in the order
//! of picks, which the row's cube follows: no atomics, and every sum has one order.

use super::{FillGradient, Gather, Scatter};
use crate::cube::{
    CubeTensors, ROW_THREADS, SLICE, add_slices, buffer, cube_index, launch, slice_of, thread_index,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn gather<R: CubeRuntime>(_: &Gather, inputs: &CubeTensors<R>) -> Vec<CubeTensor<R>> {
    let (x, indices) = (&inputs.floats[0], &inputs.ints[0]);
    let (shape, picks) = (x.shape(), indices.shape());
    let out = buffer(x, [picks[0], picks[1], shape[2]], x.dtype);
    launch!(
        gather_value,
        x,
        threads(picks.num_elements() * shape[2]),
        [x, indices, out],
        shape[1],
        picks[1],
        shape[2],
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn gather_value<F: Float>(
    x: &Array<F>,
    indices: &Array<i32>,
    out: &mut Array<F>,
    count: usize,
    rows: usize,
    picks: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = thread_index(count);
    let pick = at / width;
    let row = pick / picks * rows + indices[pick] as usize;
    out[at] = x[row * width + at % width];
}

/// The first pick of each row, `[groups * rows]`, and of each pick the next of the same row,
/// `[groups * picks]`; -1 where there is none.
fn chains<R: CubeRuntime>(
    like: &CubeTensor<R>,
    indices: &CubeTensor<R>,
    rows: usize,
) -> [CubeTensor<R>; 2] {
    let shape = indices.shape();
    let (groups, picks) = (shape[0], shape[1]);
    let first = buffer(like, [groups * rows], DType::I32);
    let next = buffer(like, [shape.num_elements().max(1)], DType::I32);
    launch!(no_pick, like, threads(groups * rows), [first]);
    if groups * picks > 0 {
        launch!(link_pick, like, threads(groups * picks), [indices, first, next], rows, picks);
    }
    [first, next]
}

#[cube(launch)]
fn no_pick(first: &mut Array<i32>, rows: usize) {
    let row = thread_index(rows);
    first[row] = -1i32;
}

#[cube(launch)]
fn link_pick(
    indices: &Array<i32>,
    first: &mut Array<i32>,
    next: &mut Array<i32>,
    count: usize,
    rows: usize,
    picks: usize,
) {
    let pick = thread_index(count);
    let start = pick / picks * picks;
    let index = indices[pick];
    let mut after = pick + 1;
    while after < start + picks && indices[after] != index {
        after += 1;
    }
    next[pick] = select(after < start + picks, i32::cast_from(after as u32), -1i32);
    let mut before = start;
    while indices[before] != index {
        before += 1;
    }
    if before == pick && index >= 0i32 && (index as usize) < rows {
        first[pick / picks * rows + index as usize] = i32::cast_from(pick as u32);
    }
}

pub(super) fn scatter<R: CubeRuntime>(
    kernel: &Scatter,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let (x, indices) = (&inputs.floats[0], &inputs.ints[0]);
    let (groups, width) = (x.shape()[0], x.shape()[2]);
    let out = buffer(x, [groups, kernel.rows, width], x.dtype);
    let [first, next] = chains(x, indices, kernel.rows);
    launch!(
        scatter_row,
        x,
        cubes(groups * kernel.rows),
        [x, inputs.floats.get(1).unwrap_or(x), first, next, out],
        width,
        kernel.fill,
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn scatter_row<F: Float>(
    x: &Array<F>,
    fill: &Array<F>,
    first: &Array<i32>,
    next: &Array<i32>,
    out: &mut Array<F>,
    rows: usize,
    width: usize,
    #[comptime] with_fill: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(rows);
    let head = first[row];
    for column in range_stepped(UNIT_POS as usize, width, comptime!(ROW_THREADS as usize)) {
        let mut sum = 0.0f32;
        if with_fill && head < 0i32 {
            sum = f32::cast_from(fill[column]);
        }
        let mut pick = head;
        while pick >= 0i32 {
            sum += f32::cast_from(x[pick as usize * width + column]);
            pick = next[pick as usize];
        }
        out[row * width + column] = F::cast_from(sum);
    }
}

pub(super) fn fill_gradient<R: CubeRuntime>(
    _: &FillGradient,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let (gradient, indices) = (&inputs.floats[0], &inputs.ints[0]);
    let shape = gradient.shape();
    let (rows, width) = (shape[0] * shape[1], shape[2]);
    let [first, _] = chains(gradient, indices, shape[1]);
    let slices = rows.div_ceil(SLICE);
    let partial = buffer(gradient, [slices, width], DType::F32);
    launch!(
        fill_slice,
        gradient,
        threads(slices * width),
        [gradient, first, partial],
        rows,
        width,
        gradient.dtype.into(),
    );
    vec![add_slices(&partial, gradient.dtype)]
}

#[cube(launch)]
fn fill_slice<F: Float>(
    gradient: &Array<F>,
    first: &Array<i32>,
    partial: &mut Array<f32>,
    count: usize,
    rows: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = thread_index(count);
    let column = at % width;
    let (start, end) = slice_of(at / width, SLICE, rows);
    let mut sum = 0.0f32;
    for row in start..end {
        if first[row] < 0i32 {
            sum += f32::cast_from(gradient[row * width + column]);
        }
    }
    partial[at] = sum;
}
