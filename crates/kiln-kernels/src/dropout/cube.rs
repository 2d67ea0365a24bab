//! On GPUs: a thread a value.

use super::Dropout;
use crate::{
    cube::{CubeTensors, buffer, launch, thread_index},
    plain::rows,
    random::{cube::bits, threshold},
};
use burn::tensor::TensorMetadata;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn dropout<R: CubeRuntime>(
    kernel: &Dropout,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let x = &inputs.floats[0];
    let (rows, width) = rows(&x.shape());
    let out = buffer(x, x.shape(), x.dtype);
    launch!(
        dropout_value,
        x,
        threads(rows * width),
        [x, inputs.floats.get(1).unwrap_or(x), out],
        width,
        kernel.seed[0],
        kernel.seed[1],
        threshold(kernel.p),
        kernel.scale() as f32,
        kernel.residual,
        x.dtype.into(),
    );
    vec![out]
}

#[cube(launch)]
fn dropout_value<F: Float>(
    x: &Array<F>,
    residual: &Array<F>,
    out: &mut Array<F>,
    count: usize,
    width: usize,
    seed_first: u32,
    seed_second: u32,
    least: u32,
    scale: f32,
    #[comptime] with_residual: bool,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let (row, column) = (position / width, position % width);
    let drawn = bits(seed_first, seed_second, row as u32, column as u32);
    let kept = f32::cast_from(x[position]) * scale;
    let mut value = select(drawn >= least, kept, 0.0f32);
    if with_residual {
        value += f32::cast_from(residual[position]);
    }
    out[position] = F::cast_from(value);
}
