//! On GPUs: a cube a row, which sums its exponentials relative to the greatest so far.

use super::{CrossEntropy, CrossEntropyBackward, CrossEntropyOptions};
use crate::cube::{CubeTensors, LOWEST, ROW_THREADS, cube_max, cube_sum, cubes, room};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// A block of rows of logits and what belongs to them; its first row is row `first` of the targets,
/// levels and gradients.
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
    let [losses, levels] = [0, 1].map(|_| room(logits, targets.shape(), DType::F32));
    forward_block(options, &Rows { logits, bias: None, targets, first: 0 }, &losses, &levels);
    vec![losses, levels]
}

/// The losses and log-sum-exp of a block of rows.
pub(super) fn forward_block<R: CubeRuntime>(
    options: &CrossEntropyOptions,
    block: &Rows<'_, R>,
    losses: &CubeTensor<R>,
    levels: &CubeTensor<R>,
) {
    let Rows { logits, bias, targets, first } = block;
    let [rows, classes] = logits.shape().dims();
    let bias_or_any = bias.unwrap_or(logits);
    forward_row::launch::<R>(
        &logits.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        (*logits).clone().into_array_arg(),
        bias_or_any.clone().into_array_arg(),
        (*targets).clone().into_array_arg(),
        losses.clone().into_array_arg(),
        levels.clone().into_array_arg(),
        *first as u32,
        rows as u32,
        classes as u32,
        options.ignore_index.unwrap_or(0) as i32,
        options.hit() as f32,
        options.spread(classes) as f32,
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
    levels: &mut Array<f32>,
    first: u32,
    rows: u32,
    classes: u32,
    ignore_index: i32,
    hit_weight: f32,
    spread: f32,
    z_loss: f32,
    #[comptime] may_ignore: bool,
    #[comptime] smoothed: bool,
    #[comptime] with_bias: bool,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let classes = classes as usize;
    let start = row * classes;
    let at = first as usize + row;
    let unit = UNIT_POS as usize;
    let target = targets[at];

    let mut highest = comptime!(LOWEST).runtime();
    let mut scaled = 0.0f32;
    let mut total = 0.0f32;
    // Exactly one thread meets the target; the others add nothing.
    let mut hit = 0.0f32;
    for column in range_stepped(unit, classes, comptime!(ROW_THREADS as usize)) {
        let mut x = f32::cast_from(logits[start + column]);
        if with_bias {
            x += f32::cast_from(bias[column]);
        }
        if x > highest {
            scaled = scaled * (highest - x).exp() + 1.0;
            highest = x;
        } else {
            scaled += (x - highest).exp();
        }
        if smoothed {
            total += x;
        }
        if column as i32 == target {
            hit = x;
        }
    }
    let greatest = cube_max(highest);
    let level = greatest + cube_sum(scaled * (highest - greatest).exp()).ln();
    let mut loss = level - hit_weight * cube_sum(hit) + z_loss * level * level;
    if smoothed {
        loss -= spread * cube_sum(total);
    }
    if unit == 0 {
        let mut counts = true;
        if may_ignore {
            counts = target != ignore_index;
        }
        losses[at] = select(counts, loss, 0.0f32);
        levels[at] = select(counts, level, 0.0f32);
    }
}

pub(super) fn backward<R: CubeRuntime>(
    CrossEntropyBackward { options }: &CrossEntropyBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [logits, levels, gradient] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let rows = Rows { logits, bias: None, targets: &inputs.ints[0], first: 0 };
    vec![backward_block(options, &rows, levels, gradient, logits.dtype)]
}

/// The gradient of a block of logits, of some float type.
pub(super) fn backward_block<R: CubeRuntime>(
    options: &CrossEntropyOptions,
    block: &Rows<'_, R>,
    levels: &CubeTensor<R>,
    gradient: &CubeTensor<R>,
    dtype: DType,
) -> CubeTensor<R> {
    let Rows { logits, bias, targets, first } = block;
    let [rows, classes] = logits.shape().dims();
    let out = room(logits, [rows, classes], dtype);
    let bias_or_any = bias.unwrap_or(logits);
    backward_row::launch::<R>(
        &logits.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        (*logits).clone().into_array_arg(),
        bias_or_any.clone().into_array_arg(),
        (*targets).clone().into_array_arg(),
        levels.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        out.clone().into_array_arg(),
        *first as u32,
        rows as u32,
        classes as u32,
        options.ignore_index.unwrap_or(0) as i32,
        options.hit() as f32,
        options.spread(classes) as f32,
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
    levels: &Array<f32>,
    gradient: &Array<H>,
    out: &mut Array<O>,
    first: u32,
    rows: u32,
    classes: u32,
    ignore_index: i32,
    hit_weight: f32,
    spread: f32,
    z_loss: f32,
    #[comptime] may_ignore: bool,
    #[comptime] with_bias: bool,
    #[define(F, G, H, O)] _dtypes: [StorageType; 4],
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let classes = classes as usize;
    let start = row * classes;
    let at = first as usize + row;
    let target = targets[at];
    let level = levels[at];
    let weight = f32::cast_from(gradient[at]);
    let mut counts = true;
    if may_ignore {
        counts = target != ignore_index;
    }
    let risen = weight * (1.0 + 2.0 * z_loss * level);
    let even = weight * spread;
    let hit = weight * hit_weight;
    for column in range_stepped(UNIT_POS as usize, classes, comptime!(ROW_THREADS as usize)) {
        let mut x = f32::cast_from(logits[start + column]);
        if with_bias {
            x += f32::cast_from(bias[column]);
        }
        let mut value = risen * (x - level).exp() - even;
        if column as i32 == target {
            value -= hit;
        }
        out[start + column] = O::cast_from(select(counts, value, 0.0f32));
    }
}
