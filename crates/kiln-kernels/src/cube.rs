//! What the CubeCL versions share: views of tensors, launches, and sums over a cube.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{
    CubeRuntime,
    kernel::{
        cast, into_contiguous,
        matmul::{MatmulStrategy, matmul},
        slice,
    },
    ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::prelude::*;
use std::ops::Range;

pub(crate) use crate::kernel::CubeTensors;

/// Room for an output beside `like`, of a float type.
pub(crate) fn buffer<R: CubeRuntime>(
    like: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// Launches a kernel beside a tensor with a thread, or a cube of [`ROW_THREADS`] threads, for each of
/// so many pieces of work: arrays, then scalars, what is known when the kernel is compiled, and
/// types. The number of pieces is the first scalar, for [`thread_index`] and [`cube_index`].
macro_rules! launch {
    ($($kernel:ident)::+, $beside:expr, threads($count:expr), $($arguments:tt)*) => {{
        let count: usize = $count;
        let cubes = count.div_ceil($crate::cube::ROW_THREADS as usize);
        $crate::cube::launch!(
            @ $($kernel)::+, $beside, cubes, $crate::cube::ROW_THREADS, count, $($arguments)*
        )
    }};
    ($($kernel:ident)::+, $beside:expr, cubes($count:expr), $($arguments:tt)*) => {
        $crate::cube::launch!(
            $($kernel)::+, $beside, cubes($count, $crate::cube::ROW_THREADS), $($arguments)*
        )
    };
    ($($kernel:ident)::+, $beside:expr, cubes($count:expr, $threads:expr), $($arguments:tt)*) => {{
        let count: usize = $count;
        $crate::cube::launch!(@ $($kernel)::+, $beside, count, $threads, count, $($arguments)*)
    }};
    (
        @ $($kernel:ident)::+, $beside:expr, $cubes:expr, $threads:expr, $count:expr,
        [$($array:expr),* $(,)?] $(, $setting:expr)* $(,)?
    ) => {
        $($kernel)::+::launch::<R>(
            &$beside.client,
            $crate::cube::cubes($cubes),
            CubeDim::new_1d($threads),
            $(burn_cubecl::tensor::CubeTensor::clone(&$array).into_array_arg(),)*
            $count,
            $($setting),*
        )
    };
}
pub(crate) use launch;

/// How many threads work on a row together.
pub(crate) const ROW_THREADS: u32 = 128;

/// Cubes for `count` pieces of work; there may be more of them, because a device limits how many
/// there are in a direction.
pub(crate) fn cubes(count: usize) -> CubeCount {
    const LIMIT: usize = 32_768;
    CubeCount::Static(count.clamp(1, LIMIT) as u32, count.div_ceil(LIMIT).max(1) as u32, 1)
}

/// The index of a thread among `count`; a thread past them ends here.
#[cube]
pub(crate) fn thread_index(count: usize) -> usize {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    ABSOLUTE_POS
}

/// The index of a cube among `count`; a cube past them ends here.
#[cube]
pub(crate) fn cube_index(count: usize) -> usize {
    if CUBE_POS >= count {
        terminate!();
    }
    CUBE_POS
}

/// The first of the rows of a slice of `size` and the one after its last, where there are `rows`.
#[cube]
pub(crate) fn slice_of(index: usize, size: usize, rows: usize) -> (usize, usize) {
    let first = index * size;
    let mut end = first + size;
    if end > rows {
        end = rows;
    }
    (first, end)
}

/// The sum over the threads of a cube, which every thread gets. All of them must call it.
#[cube]
pub(crate) fn cube_sum(value: f32) -> f32 {
    reduce(value, false)
}

/// The greatest value among the threads of a cube, which every thread gets. All of them must call
/// it.
#[cube]
pub(crate) fn cube_max(value: f32) -> f32 {
    reduce(value, true)
}

/// The sum, or the greatest value, over the threads of a cube.
#[cube]
fn reduce(value: f32, #[comptime] greatest: bool) -> f32 {
    let mut shared = SharedMemory::<f32>::new(comptime!(ROW_THREADS as usize));
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(ROW_THREADS as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            if comptime!(greatest) {
                if other > shared[unit] {
                    shared[unit] = other;
                }
            } else {
                shared[unit] += other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let reduced = shared[0];
    // The memory may be used again at once.
    sync_cube();
    reduced
}

/// A step of the online log-sum-exp: the greatest value so far, x included, and the sum of
/// exponentials relative to it.
#[cube]
pub(crate) fn add_exponential(highest: f32, scaled: f32, x: f32) -> (f32, f32) {
    // Of the two differences from the greatest, one is zero.
    let e = (-(x - highest).abs()).exp();
    let rises = x > highest;
    (select(rises, x, highest), select(rises, scaled * e + 1.0f32, scaled + e))
}

/// The log-sum-exp over the threads of a cube, each of which took [`add_exponential`]'s steps from
/// [`LOWEST`] and zero.
#[cube]
pub(crate) fn cube_log_sum_exp(highest: f32, scaled: f32) -> f32 {
    let greatest = cube_max(highest);
    greatest + cube_sum(scaled * (highest - greatest).exp()).ln()
}

/// The log-sum-exp of the `width` values from `start` on, times `scale`. All threads of a cube must
/// call it, and get it.
#[cube]
pub(crate) fn row_log_sum_exp<F: Float>(
    values: &Array<F>,
    start: usize,
    width: usize,
    scale: f32,
) -> f32 {
    let mut highest = comptime!(LOWEST).runtime();
    let mut scaled = 0.0f32;
    for column in range_stepped(UNIT_POS as usize, width, comptime!(ROW_THREADS as usize)) {
        let x = scale * f32::cast_from(values[start + column]);
        let (greatest, sum) = add_exponential(highest, scaled, x);
        highest = greatest;
        scaled = sum;
    }
    cube_log_sum_exp(highest, scaled)
}

/// Zeros in the registers of a thread.
#[cube]
pub(crate) fn zeros(#[comptime] len: usize) -> Array<f32> {
    let mut values = Array::<f32>::new(len);
    #[unroll]
    for index in 0..len {
        values[index] = 0.0f32;
    }
    values
}

/// Rows whose share of a sum over rows one thread adds up, before [`add_slices`].
pub(crate) const SLICE: usize = 64;

/// The sum of the rows of `[slices, width]`, `[width]` in this type.
pub(crate) fn add_slices<R: CubeRuntime>(partial: &CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    let [slices, width] = partial.shape().dims();
    let out = buffer(partial, [width], dtype);
    launch!(add_slices_column, partial, threads(width), [partial, out], slices, dtype.into());
    out
}

#[cube(launch)]
fn add_slices_column<F: Float>(
    partial: &Array<f32>,
    out: &mut Array<F>,
    width: usize,
    slices: usize,
    #[define(F)] _dtype: StorageType,
) {
    let column = thread_index(width);
    let mut total = 0.0f32;
    for slice in 0..slices {
        total += partial[slice * width + column];
    }
    out[column] = F::cast_from(total);
}

/// The sum of every column of a matrix of so many columns, in this type.
pub(crate) fn column_sums<R: CubeRuntime>(
    values: &CubeTensor<R>,
    columns: usize,
    dtype: DType,
) -> CubeTensor<R> {
    let rows = values.shape().num_elements() / columns.max(1);
    let slices = rows.div_ceil(SLICE);
    let partial = buffer(values, [slices, columns], DType::F32);
    launch!(
        slice_sums,
        values,
        threads(slices * columns),
        [values, partial],
        rows,
        columns,
        values.dtype.into(),
    );
    add_slices(&partial, dtype)
}

#[cube(launch)]
fn slice_sums<F: Float>(
    values: &Array<F>,
    partial: &mut Array<f32>,
    count: usize,
    rows: usize,
    columns: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let (first, end) = slice_of(position / columns, SLICE, rows);
    let mut sum = 0.0f32;
    for row in first..end {
        sum += f32::cast_from(values[row * columns + position % columns]);
    }
    partial[position] = sum;
}

/// A tensor to update in place: this one where nobody else holds its memory, else a copy.
pub(crate) fn updatable<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    if tensor.can_mut() { tensor.clone() } else { tensor.copy() }
}

/// Below every logit there is: WGSL has no infinities as literals.
pub(crate) const LOWEST: f32 = -3.0e38;

/// How many values of an intermediate matrix are in memory at once where it is made in blocks of
/// rows. Small in tests, so that there are several blocks.
const BLOCK_VALUES: usize = if cfg!(test) { 1024 } else { 1 << 26 };

/// The blocks of rows of a matrix of `columns` that is never whole in memory.
pub(crate) fn row_blocks(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    // Whole tiles of a matrix product.
    let each = (BLOCK_VALUES / columns.max(1)).next_multiple_of(if cfg!(test) { 1 } else { 128 });
    let each = each.clamp(1, rows.max(1));
    (0..rows).step_by(each).map(move |start| start..(start + each).min(rows))
}

/// Some rows of a matrix.
pub(crate) fn matrix_rows<R: CubeRuntime>(
    matrix: &CubeTensor<R>,
    rows: &Range<usize>,
) -> CubeTensor<R> {
    let shape = matrix.shape();
    if rows.len() == shape[0] {
        return matrix.clone();
    }
    into_contiguous(slice(matrix.clone(), &[rows.clone(), 0..shape[1]]))
}

/// Rows as columns, without a copy.
pub(crate) fn transposed<R: CubeRuntime>(mut matrix: CubeTensor<R>) -> CubeTensor<R> {
    matrix.meta.swap(0, 1);
    matrix
}

/// The product of two matrices, by the fastest kernel for their sizes; contiguous.
pub(crate) fn product<R: CubeRuntime>(
    a: CubeTensor<R>,
    b: CubeTensor<R>,
    dtype: DType,
) -> Option<CubeTensor<R>> {
    let out = buffer(&a, [a.shape()[0], b.shape()[1]], dtype);
    // Tuning tries dozens of kernels a size: minutes where a processor stands in for the GPU.
    let strategy = if cfg!(test) { MatmulStrategy::Cube } else { MatmulStrategy::default() };
    matmul(a, b, Some(out), strategy, dtype).ok()
}

/// Adds a block to a part of a contiguous tensor that starts at `offset`, or writes it there.
pub(crate) fn put<R: CubeRuntime>(
    block: &CubeTensor<R>,
    out: &CubeTensor<R>,
    offset: usize,
    add: bool,
) {
    launch!(
        put_values,
        block,
        threads(block.shape().num_elements()),
        [block, out],
        offset,
        add,
        [block.dtype.into(), out.dtype.into()],
    );
}

#[cube(launch)]
fn put_values<F: Float, O: Float>(
    block: &Array<F>,
    out: &mut Array<O>,
    count: usize,
    offset: usize,
    #[comptime] add: bool,
    #[define(F, O)] _dtypes: [StorageType; 2],
) {
    let position = thread_index(count);
    let at = offset + position;
    let mut value = f32::cast_from(block[position]);
    if add {
        value += f32::cast_from(out[at]);
    }
    out[at] = O::cast_from(value);
}

/// A contiguous tensor in another float type.
pub(crate) fn as_type<R: CubeRuntime>(tensor: CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    if tensor.dtype == dtype { tensor } else { cast(tensor, dtype) }
}
