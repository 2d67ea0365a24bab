//! What the CubeCL versions share: views of tensors, launches, and sums over a cube.

use crate::Tensors;
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement,
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

/// The inputs of a kernel on a GPU: contiguous floats and contiguous 32-bit integers.
#[derive(Debug, Clone)]
pub struct CubeTensors<R: CubeRuntime> {
    /// Floats.
    pub floats: Vec<CubeTensor<R>>,
    /// Integers.
    pub ints: Vec<CubeTensor<R>>,
}

impl<R: CubeRuntime> CubeTensors<R> {
    /// These inputs, as kernels read them.
    pub(crate) fn of<F: FloatElement, I: IntElement, BT: BoolElement>(
        inputs: &Tensors<CubeBackend<R, F, I, BT>>,
    ) -> Self {
        let ints = inputs.ints.iter().cloned().map(|tensor| {
            let tensor = into_contiguous(tensor);
            if tensor.dtype == DType::I32 { tensor } else { cast(tensor, DType::I32) }
        });
        Self {
            floats: inputs.floats.iter().cloned().map(into_contiguous).collect(),
            ints: ints.collect(),
        }
    }
}

/// Room for an output beside `like`, of a float type.
pub(crate) fn buffer<R: CubeRuntime>(
    like: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// Launches a kernel on cubes of [`ROW_THREADS`] threads, beside a tensor: how many cubes, arrays,
/// then scalars, what is known when the kernel is compiled, and types.
macro_rules! launch {
    (
        $kernel:ident, $beside:expr, $cubes:expr, [$($array:expr),* $(,)?], $($setting:expr),* $(,)?
    ) => {
        $kernel::launch::<R>(
            &$beside.client,
            $cubes,
            CubeDim::new_1d($crate::cube::ROW_THREADS),
            $(burn_cubecl::tensor::CubeTensor::clone(&$array).into_array_arg(),)*
            $($setting),*
        )
    };
}
pub(crate) use launch;

/// How many threads work on a row together.
pub(crate) const ROW_THREADS: u32 = 128;

/// A cube for each of `count` pieces of work; `CUBE_POS` is the piece's number, which may reach
/// past `count`, because a device limits how many there are in a direction.
pub(crate) fn cubes(count: usize) -> CubeCount {
    const LIMIT: usize = 32_768;
    CubeCount::Static(count.clamp(1, LIMIT) as u32, count.div_ceil(LIMIT).max(1) as u32, 1)
}

/// A thread for each of `count` values, [`ROW_THREADS`] a cube.
pub(crate) fn cubes_elementwise(count: usize) -> CubeCount {
    cubes(count.div_ceil(ROW_THREADS as usize))
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

/// Rows whose share of a sum over rows one thread adds up, before [`add_slices`].
pub(crate) const SLICE: usize = 64;

/// The sum of the rows of `[slices, width]`, `[width]` in this type.
pub(crate) fn add_slices<R: CubeRuntime>(partial: &CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    let shape = partial.meta.shape();
    let (slices, width) = (shape[0], shape[1]);
    let out = buffer(partial, [width], dtype);
    launch!(
        add_slices_column,
        partial,
        cubes_elementwise(width),
        [partial, out],
        slices as u32,
        width as u32,
        dtype.into(),
    );
    out
}

#[cube(launch)]
fn add_slices_column<F: Float>(
    partial: &Array<f32>,
    out: &mut Array<F>,
    slices: u32,
    width: u32,
    #[define(F)] _dtype: StorageType,
) {
    let column = ABSOLUTE_POS;
    let width = width as usize;
    if column >= width {
        terminate!();
    }
    let mut total = 0.0f32;
    for slice in 0..slices as usize {
        total += partial[slice * width + column];
    }
    out[column] = F::cast_from(total);
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
    let count = block.shape().num_elements();
    launch!(
        put_values,
        block,
        cubes_elementwise(count),
        [block, out],
        offset as u32,
        count as u32,
        add,
        [block.dtype.into(), out.dtype.into()],
    );
}

#[cube(launch)]
fn put_values<F: Float, O: Float>(
    block: &Array<F>,
    out: &mut Array<O>,
    offset: u32,
    count: u32,
    #[comptime] add: bool,
    #[define(F, O)] _dtypes: [StorageType; 2],
) {
    let position = ABSOLUTE_POS;
    if position >= count as usize {
        terminate!();
    }
    let at = offset as usize + position;
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
