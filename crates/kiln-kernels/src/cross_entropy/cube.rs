//! On GPUs: a cube a row, which sums its exponentials relative to the greatest so far.

use super::{CrossEntropy, CrossEntropyBackward, CrossEntropyOptions};
use crate::cube::{
    CubeTensors, LOWEST, ROW_THREADS, add_exponential, buffer, cube_index, cube_log_sum_exp,
    cube_sum, launch,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// A block of rows of logits and what belongs to them; its first row is row `first` of the targets,
/// log-sum-exps and gradients.
pub(super) struct Rows<'a, R: CubeRuntime> {
    pub(super) logits: &'a CubeTensor<R>,
    /// To be added to each row.
    pub(super) bias: Option<&'a CubeTensor<R>>,
    pub(super) targets: &'a CubeTensor<R>,
    pub(super) first: usize,
}

pub(super) fn forward<R: CubeRuntime>(
    CrossEntropy { options }: &CrossEntropy,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let (logits, targets) = (&inputs.floats[0], &inputs.ints[0]);
    let [losses, log_sum_exps] = [0, 1].map(|_| buffer(logits, targets.shape(), DType::F32));
    forward_block(options, &Rows { logits, bias: None, targets, first: 0 }, &losses, &log_sum_exps);
    vec![losses, log_sum_exps]
}

/// The losses and log-sum-exp of a block of rows.
pub(super) fn forward_block<R: CubeRuntime>(
    options: &CrossEntropyOptions,
    block: &Rows<'_, R>,
    losses: &CubeTensor<R>,
    log_sum_exps: &CubeTensor<R>,
) {
    let Rows { logits, bias, targets, first } = block;
    let [rows, classes] = logits.shape().dims();
    let bias_or_any = bias.unwrap_or(logits);
    launch!(
        forward_row,
        logits,
        cubes(rows),
        [logits, bias_or_any, targets, losses, log_sum_exps],
        *first,
        classes,
        options.ignore_index.unwrap_or(0) as i32,
        options.target_weight() as f32,
        options.smoothing(classes) as f32,
        options.z_loss as f32,
        options.ignore_index.is_some(),
        options.label_smoothing > 0.0,
        bias.is_some(),
        [logits.dtype.into(), bias_or_any.dtype.into()],
    );
}

#[cube(launch)]
fn forward_row<F: Float, G: Float>(
    logits: &Array<F>,
    bias: &Array<G>,
    targets: &Array<i32>,
    losses: &mut Array<f32>,
    log_sum_exps: &mut Array<f32>,
    rows: usize,
    first: usize,
    classes: usize,
    ignore_index: i32,
    target_weight: f32,
    smoothing: f32,
    z_loss: f32,
    #[comptime] may_ignore: bool,
    #[comptime] smoothed: bool,
    #[comptime] with_bias: bool,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    let row = cube_index(rows);
    let start = row * classes;
    let at = first + row;
    let unit = UNIT_POS as usize;
    let target = targets[at];

    let mut highest = comptime!(LOWEST).runtime();
    let mut scaled = 0.0f32;
    let mut total = 0.0f32;
    // Exactly one thread meets the target; the others add nothing.
    let mut target_logit = 0.0f32;
    for column in range_stepped(unit, classes, comptime!(ROW_THREADS as usize)) {
        let mut x = f32::cast_from(logits[start + column]);
        if with_bias {
            x += f32::cast_from(bias[column]);
        }
        let (greatest, sum) = add_exponential(highest, scaled, x);
        highest = greatest;
        scaled = sum;
        if smoothed {
            total += x;
        }
        if column as i32 == target {
            target_logit = x;
        }
    }
    let log_sum_exp = cube_log_sum_exp(highest, scaled);
    let mut loss =
        log_sum_exp - target_weight * cube_sum(target_logit) + z_loss * log_sum_exp * log_sum_exp;
    if smoothed {
        loss -= smoothing * cube_sum(total);
    }
    if unit == 0 {
        let mut counts = true;
        if may_ignore {
            counts = target != ignore_index;
        }
        losses[at] = select(counts, loss, 0.0f32);
        log_sum_exps[at] = select(counts, log_sum_exp, 0.0f32);
    }
}

pub(super) fn backward<R: CubeRuntime>(
    CrossEntropyBackward { options }: &CrossEntropyBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [logits, log_sum_exps, gradient] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let rows = Rows { logits, bias: None, targets: &inputs.ints[0], first: 0 };
    vec![backward_block(options, &rows, log_sum_exps, gradient, logits.dtype)]
}

/// The gradient of a block of logits, of some float type.
pub(super) fn backward_block<R: CubeRuntime>(
    options: &CrossEntropyOptions,
    block: &Rows<'_, R>,
    log_sum_exps: &CubeTensor<R>,
    gradient: &CubeTensor<R>,
    dtype: DType,
) -> CubeTensor<R> {
    let Rows { logits, bias, targets, first } = block;
    let [rows, classes] = logits.shape().dims();
    let out = buffer(logits, [rows, classes], dtype);
    let bias_or_any = bias.unwrap_or(logits);
    launch!(
        backward_row,
        logits,
        cubes(rows),
        [logits, bias_or_any, targets, log_sum_exps, gradient, out],
        *first,
        classes,
        options.ignore_index.unwrap_or(0) as i32,
        options.target_weight() as f32,
        options.smoothing(classes) as f32,
        options.z_loss as f32,
        options.ignore_index.is_some(),
        bias.is_some(),
        [logits.dtype.into(), bias_or_any.dtype.into(), gradient.dtype.into(), dtype.into()],
    );
    out
}

#[cube(launch)]
fn backward_row<F: Float, G: Float, H: Float, O: Float>(
    logits: &Array<F>,
    bias: &Array<G>,
    targets: &Array<i32>,
    log_sum_exps: &Array<f32>,
    gradient: &Array<H>,
    out: &mut Array<O>,
    rows: usize,
    first: usize,
    classes: usize,
    ignore_index: i32,
    target_weight: f32,
    smoothing: f32,
    z_loss: f32,
    #[comptime] may_ignore: bool,
    #[comptime] with_bias: bool,
    #[define(F, G, H, O)] _dtypes: [StorageType; 4],
) {
    let row = cube_index(rows);
    let start = row * classes;
    let at = first + row;
    let target = targets[at];
    let log_sum_exp = log_sum_exps[at];
    let weight = f32::cast_from(gradient[at]);
    let mut counts = true;
    if may_ignore {
        counts = target != ignore_index;
    }
    let scaled_grad = weight * (1.0 + 2.0 * z_loss * log_sum_exp);
    let smoothing_grad = weight * smoothing;
    let target_grad = weight * target_weight;
    for column in range_stepped(UNIT_POS as usize, classes, comptime!(ROW_THREADS as usize)) {
        let mut x = f32::cast_from(logits[start + column]);
        if with_bias {
            x += f32::cast_from(bias[column]);
        }
        let mut value = scaled_grad * (x - log_sum_exp).exp() - smoothing_grad;
        if column as i32 == target {
            value -= target_grad;
        }
        out[start + column] = O::cast_from(select(counts, value, 0.0f32));
    }
}
