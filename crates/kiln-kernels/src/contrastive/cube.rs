//! On GPUs: a matrix product for a block of rows' similarities, a cube a row on them, and for the
//! columns' log-sum-exp a thread a column.

use super::{PairLoss, Pairs, PairsBackward};
use crate::cube::{
    CubeTensors, LOWEST, ROW_THREADS, add_exponential, as_type, buffer, cube_index, cube_sum,
    launch, matrix_rows, product, put, row_blocks, row_log_sum_exp, thread_index, transposed,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn forward<R: CubeRuntime>(
    &Pairs { loss }: &Pairs,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let [a, b, scale] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let bias = inputs.floats.get(3).unwrap_or(scale);
    let pairs = a.shape()[0];
    let sigmoid = loss == PairLoss::Sigmoid;
    let losses = buffer(a, [pairs], DType::F32);
    let log_sum_exps = buffer(a, [2, pairs], DType::F32);
    let columns = buffer(a, [2, pairs], DType::F32);
    for rows in row_blocks(pairs, pairs) {
        let block = product(matrix_rows(a, &rows), transposed(b.clone()), DType::F32)?;
        launch!(
            forward_row,
            a,
            cubes(rows.len()),
            [block, scale, bias, losses, log_sum_exps],
            rows.start,
            pairs,
            sigmoid,
            a.dtype.into(),
        );
        if !sigmoid {
            launch!(
                add_columns,
                a,
                threads(pairs),
                [block, scale, columns],
                rows.len(),
                rows.start == 0,
                a.dtype.into(),
            );
        }
    }
    if sigmoid {
        return Some(vec![losses]);
    }
    launch!(join_log_sum_exps, a, threads(pairs), [columns, log_sum_exps, losses]);
    Some(vec![losses, log_sum_exps])
}

/// With sigmoids a row's loss; else its log-sum-exp, and as loss what the pair itself takes off.
#[cube(launch)]
fn forward_row<F: Float>(
    block: &Array<f32>,
    scale: &Array<F>,
    bias: &Array<F>,
    losses: &mut Array<f32>,
    log_sum_exps: &mut Array<f32>,
    rows: usize,
    first: usize,
    pairs: usize,
    #[comptime] sigmoid: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(rows);
    let start = row * pairs;
    let at = first + row;
    let unit = UNIT_POS as usize;
    let scale = f32::cast_from(scale[0]);
    if sigmoid {
        let bias = f32::cast_from(bias[0]);
        let mut total = 0.0f32;
        for column in range_stepped(unit, pairs, comptime!(ROW_THREADS as usize)) {
            let x = scale * block[start + column] + bias;
            total += softplus(select(column == at, -x, x));
        }
        let total = cube_sum(total);
        if unit == 0 {
            losses[at] = total;
        }
    } else {
        let log_sum_exp = row_log_sum_exp::<f32>(block, start, pairs, scale);
        if unit == 0 {
            log_sum_exps[at] = log_sum_exp;
            losses[at] = -scale * block[start + at];
        }
    }
}

/// `ln(1 + e^x)`, with the digits of small values.
#[cube]
fn softplus(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    let s = e / (2.0 + e);
    let z = s * s;
    let mut p = comptime!(2.0f32 / 15.0).runtime();
    p = p * z + comptime!(2.0f32 / 13.0);
    p = p * z + comptime!(2.0f32 / 11.0);
    p = p * z + comptime!(2.0f32 / 9.0);
    p = p * z + comptime!(2.0f32 / 7.0);
    p = p * z + comptime!(2.0f32 / 5.0);
    p = p * z + comptime!(2.0f32 / 3.0);
    select(x > 0.0, x, 0.0f32) + s * (p * z + 2.0)
}

/// Adds a block to each column's greatest value and sum of exponentials.
#[cube(launch)]
fn add_columns<F: Float>(
    block: &Array<f32>,
    scale: &Array<F>,
    columns: &mut Array<f32>,
    pairs: usize,
    rows: usize,
    #[comptime] start: bool,
    #[define(F)] _dtype: StorageType,
) {
    let column = thread_index(pairs);
    let scale = f32::cast_from(scale[0]);
    let mut highest = comptime!(LOWEST).runtime();
    let mut scaled = 0.0f32;
    if !start {
        highest = columns[column];
        scaled = columns[pairs + column];
    }
    for row in 0..rows {
        let x = scale * block[row * pairs + column];
        let (greatest, sum) = add_exponential(highest, scaled, x);
        highest = greatest;
        scaled = sum;
    }
    columns[column] = highest;
    columns[pairs + column] = scaled;
}

/// The columns' log-sum-exp, and the losses from both.
#[cube(launch)]
fn join_log_sum_exps(
    columns: &Array<f32>,
    log_sum_exps: &mut Array<f32>,
    losses: &mut Array<f32>,
    pairs: usize,
) {
    let column = thread_index(pairs);
    let log_sum_exp = columns[column] + columns[pairs + column].ln();
    log_sum_exps[pairs + column] = log_sum_exp;
    losses[column] += 0.5 * (log_sum_exps[column] + log_sum_exp);
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &PairsBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let [a, b, scale, other, gradient] = [0, 1, 2, 3, 4].map(|index| &inputs.floats[index]);
    let (pairs, dtype) = (a.shape()[0], a.dtype);
    let width = a.shape()[1];
    let [for_a, for_b, for_scale, for_bias] = kernel.needed;
    let a_out = for_a.then(|| buffer(a, [pairs, width], dtype));
    let b_out = for_b.then(|| buffer(a, [pairs, width], DType::F32));
    let sums = buffer(a, [2, pairs], DType::F32);
    for rows in row_blocks(pairs, pairs) {
        let states = matrix_rows(a, &rows);
        let block = product(states.clone(), transposed(b.clone()), DType::F32)?;
        let each = buffer(a, [rows.len(), pairs], dtype);
        launch!(
            gradient_row,
            a,
            cubes(rows.len()),
            [block, scale, other, gradient, each, sums],
            rows.start,
            pairs,
            kernel.loss == PairLoss::Sigmoid,
            [dtype.into(), other.dtype.into(), gradient.dtype.into()],
        );
        if let Some(out) = &a_out {
            put(&product(each.clone(), b.clone(), dtype)?, out, rows.start * width, false);
        }
        if let Some(out) = &b_out {
            put(&product(transposed(each), states, DType::F32)?, out, 0, rows.start > 0);
        }
    }
    let total = |which: usize| {
        let out = buffer(a, [1], dtype);
        launch!(total_sum, a, cubes(1), [sums, out], which, pairs, dtype.into());
        out
    };
    let (scale_out, bias_out) = (for_scale.then(|| total(0)), for_bias.then(|| total(1)));
    Some(kernel.choose([a_out, b_out.map(|out| as_type(out, dtype)), scale_out, bias_out]))
}

/// The gradients of a row's similarities times the scale, and the row's share of the gradients of
/// scale and bias.
#[cube(launch)]
fn gradient_row<F: Float, G: Float, H: Float>(
    block: &Array<f32>,
    scale: &Array<F>,
    other: &Array<G>,
    gradient: &Array<H>,
    out: &mut Array<F>,
    sums: &mut Array<f32>,
    rows: usize,
    first: usize,
    pairs: usize,
    #[comptime] sigmoid: bool,
    #[define(F, G, H)] _dtypes: [StorageType; 3],
) {
    let row = cube_index(rows);
    let start = row * pairs;
    let at = first + row;
    let unit = UNIT_POS as usize;
    let scale = f32::cast_from(scale[0]);
    let weight = f32::cast_from(gradient[at]);
    let of_row = f32::cast_from(other[if sigmoid { 0usize.runtime() } else { at }]);
    let mut along = 0.0f32;
    let mut total = 0.0f32;
    for column in range_stepped(unit, pairs, comptime!(ROW_THREADS as usize)) {
        let product = block[start + column];
        let x = scale * product;
        let mut each = -select(column == at, weight, 0.0f32);
        if sigmoid {
            each += weight / (1.0 + (-(x + of_row)).exp());
        } else {
            let column_weight = f32::cast_from(gradient[column]);
            let column_log_sum_exp = f32::cast_from(other[pairs + column]);
            each += 0.5
                * (weight * (x - of_row).exp() + column_weight * (x - column_log_sum_exp).exp());
        }
        along += each * product;
        total += each;
        out[start + column] = F::cast_from(scale * each);
    }
    let along = cube_sum(along);
    let total = cube_sum(total);
    if unit == 0 {
        sums[at] = along;
        sums[pairs + at] = total;
    }
}

/// The sums of rows of `[.., width]`, from row `first` on.
#[cube(launch)]
fn total_sum<F: Float>(
    values: &Array<f32>,
    out: &mut Array<F>,
    rows: usize,
    first: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(rows);
    let start = (first + row) * width;
    let unit = UNIT_POS as usize;
    let mut total = 0.0f32;
    for column in range_stepped(unit, width, comptime!(ROW_THREADS as usize)) {
        total += values[start + column];
    }
    let total = cube_sum(total);
    if unit == 0 {
        out[row] = F::cast_from(total);
    }
}
