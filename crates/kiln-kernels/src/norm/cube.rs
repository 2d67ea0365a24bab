//! On GPUs: a cube a row; weight and bias gradients in a second launch, a thread a column, in
//! slices of rows that a third adds up.

use super::{AddNorm, Norm, NormBackward};
use crate::{
    cube::{
        CubeTensors, ROW_THREADS, SLICE, add_slices, buffer, cube_index, cube_sum, launch,
        slice_of, thread_index,
    },
    plain::rows,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn forward<R: CubeRuntime>(norm: &Norm, inputs: &CubeTensors<R>) -> Vec<CubeTensor<R>> {
    let [x, weight] = [0, 1].map(|index| &inputs.floats[index]);
    let [_, out, statistics] = normalise(norm, x, None, weight, inputs.floats.get(2));
    vec![out, statistics]
}

pub(super) fn forward_add<R: CubeRuntime>(
    AddNorm { norm }: &AddNorm,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, residual, weight] = [0, 1, 2].map(|index| &inputs.floats[index]);
    normalise(norm, x, Some(residual), weight, inputs.floats.get(3)).into()
}

/// The sum, which is not written where there is no residual; its norm; and the statistics.
fn normalise<R: CubeRuntime>(
    norm: &Norm,
    x: &CubeTensor<R>,
    residual: Option<&CubeTensor<R>>,
    weight: &CubeTensor<R>,
    bias: Option<&CubeTensor<R>>,
) -> [CubeTensor<R>; 3] {
    let (rows, width) = rows(&x.shape());
    let sum = buffer(x, residual.map_or([1].into(), TensorMetadata::shape), x.dtype);
    let out = buffer(x, x.shape(), x.dtype);
    let statistics = buffer(x, [rows, 2], DType::F32);
    launch!(
        forward_row,
        x,
        cubes(rows),
        [x, residual.unwrap_or(x), weight, bias.unwrap_or(weight), sum, out, statistics],
        width,
        norm.epsilon as f32,
        norm.centred,
        norm.bias,
        residual.is_some(),
        x.dtype.into(),
    );
    [sum, out, statistics]
}

#[cube(launch)]
fn forward_row<F: Float>(
    x: &Array<F>,
    residual: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    sum: &mut Array<F>,
    out: &mut Array<F>,
    statistics: &mut Array<f32>,
    rows: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centred: bool,
    #[comptime] with_bias: bool,
    #[comptime] with_residual: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(rows);
    if with_residual {
        let start = row * width;
        // Each thread reads only what it has written itself, so no barrier is needed.
        for column in range_stepped(UNIT_POS as usize, width, comptime!(ROW_THREADS as usize)) {
            sum[start + column] = x[start + column] + residual[start + column];
        }
        normalise_row::<F>(
            sum, weight, bias, out, statistics, row, width, epsilon, centred, with_bias,
        );
    } else {
        normalise_row::<F>(
            x, weight, bias, out, statistics, row, width, epsilon, centred, with_bias,
        );
    }
}

/// What [`forward_row`] does with a row.
#[cube]
fn normalise_row<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    bias: &Array<F>,
    out: &mut Array<F>,
    statistics: &mut Array<f32>,
    row: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centred: bool,
    #[comptime] with_bias: bool,
) {
    let start = row * width;
    let first = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let share = 1.0f32 / f32::cast_from(width as u32);

    let mut mean = 0.0f32;
    if centred {
        let mut total = 0.0f32;
        for column in range_stepped(first, width, step) {
            total += f32::cast_from(x[start + column]);
        }
        mean = cube_sum(total) * share;
    }
    let mut total = 0.0f32;
    for column in range_stepped(first, width, step) {
        let centred = f32::cast_from(x[start + column]) - mean;
        total += centred * centred;
    }
    let inverse = 1.0f32 / (cube_sum(total) * share + epsilon).sqrt();
    for column in range_stepped(first, width, step) {
        let normal = (f32::cast_from(x[start + column]) - mean) * inverse;
        let mut value = normal * f32::cast_from(weight[column]);
        if with_bias {
            value += f32::cast_from(bias[column]);
        }
        out[start + column] = F::cast_from(value);
    }
    if first == 0 {
        statistics[row * 2] = mean;
        statistics[row * 2 + 1] = inverse;
    }
}

pub(super) fn backward<R: CubeRuntime>(
    norm: &NormBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, weight, statistics, gradient] = [0, 1, 2, 3].map(|index| &inputs.floats[index]);
    let (rows, width) = rows(&x.shape());
    let x_gradient = buffer(x, x.shape(), x.dtype);
    launch!(
        backward_row,
        x,
        cubes(rows),
        [x, weight, statistics, gradient, x_gradient],
        width,
        norm.centred,
        x.dtype.into(),
    );
    let slices = rows.div_ceil(SLICE);
    let [weight_partial, bias_partial] = [0, 1].map(|_| buffer(x, [slices, width], DType::F32));
    launch!(
        partial_sums,
        x,
        threads(slices * width),
        [x, statistics, gradient, weight_partial, bias_partial],
        rows,
        width,
        x.dtype.into(),
    );
    let sums = [weight_partial, bias_partial].map(|partial| add_slices(&partial, x.dtype));
    [x_gradient].into_iter().chain(sums).collect()
}

#[cube(launch)]
fn backward_row<F: Float>(
    x: &Array<F>,
    weight: &Array<F>,
    statistics: &Array<f32>,
    gradient: &Array<F>,
    x_gradient: &mut Array<F>,
    rows: usize,
    width: usize,
    #[comptime] centred: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(rows);
    let start = row * width;
    let first = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let share = 1.0f32 / f32::cast_from(width as u32);
    let mean = statistics[row * 2];
    let inverse = statistics[row * 2 + 1];

    let mut along = 0.0f32;
    let mut level = 0.0f32;
    for column in range_stepped(first, width, step) {
        let normal = (f32::cast_from(x[start + column]) - mean) * inverse;
        let scaled = f32::cast_from(gradient[start + column]) * f32::cast_from(weight[column]);
        along += scaled * normal;
        level += scaled;
    }
    let along = cube_sum(along) * share;
    let mut mean_scaled = 0.0f32;
    if centred {
        mean_scaled = cube_sum(level) * share;
    }
    for column in range_stepped(first, width, step) {
        let normal = (f32::cast_from(x[start + column]) - mean) * inverse;
        let scaled = f32::cast_from(gradient[start + column]) * f32::cast_from(weight[column]);
        let value = (scaled - mean_scaled - normal * along) * inverse;
        x_gradient[start + column] = F::cast_from(value);
    }
}

#[cube(launch)]
fn partial_sums<F: Float>(
    x: &Array<F>,
    statistics: &Array<f32>,
    gradient: &Array<F>,
    weight_partial: &mut Array<f32>,
    bias_partial: &mut Array<f32>,
    count: usize,
    rows: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let column = position % width;
    let (first, end) = slice_of(position / width, SLICE, rows);
    let mut weight_sum = 0.0f32;
    let mut bias_sum = 0.0f32;
    for row in first..end {
        let gradient = f32::cast_from(gradient[row * width + column]);
        let centred = f32::cast_from(x[row * width + column]) - statistics[row * 2];
        weight_sum += gradient * centred * statistics[row * 2 + 1];
        bias_sum += gradient;
    }
    weight_partial[position] = weight_sum;
    bias_partial[position] = bias_sum;
}
