//! What the CubeCL versions share: views of tensors, launches, and sums over a cube.

mod normal;

pub(crate) use normal::{gelu, gelu_slope};

use crate::Tensors;
use burn::tensor::{DType, Shape};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement,
    kernel::{cast, into_contiguous},
    ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::prelude::*;

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
pub(crate) fn room<R: CubeRuntime>(
    like: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

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
    let mut shared = SharedMemory::<f32>::new(comptime!(ROW_THREADS as usize));
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(ROW_THREADS as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[0];
    // The memory may be used again at once.
    sync_cube();
    total
}

/// Rows whose share of a sum over rows one thread adds up, before [`add_slices`].
pub(crate) const SLICE: usize = 64;

/// The sum of the rows of `[slices, width]`, `[width]` in this type.
pub(crate) fn add_slices<R: CubeRuntime>(partial: &CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    let shape = partial.meta.shape();
    let (slices, width) = (shape[0], shape[1]);
    let out = room(partial, [width], dtype);
    add_slices_column::launch::<R>(
        &partial.client,
        cubes_elementwise(width),
        CubeDim::new_1d(ROW_THREADS),
        partial.clone().into_array_arg(),
        out.clone().into_array_arg(),
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
