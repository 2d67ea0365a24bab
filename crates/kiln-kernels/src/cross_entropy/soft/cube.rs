//! On GPUs: a cube a row.

use super::SoftBackward;
use crate::cube::{CubeTensors, LOWEST, ROW_THREADS, cube_max, cube_sum, cubes, room};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn forward<R: CubeRuntime>(inputs: &CubeTensors<R>) -> Vec<CubeTensor<R>> {
    let (logits, targets) = (&inputs.floats[0], &inputs.floats[1]);
    let [rows, classes] = logits.shape().dims();
    let losses = room(logits, [rows], DType::F32);
    let statistics = room(logits, [rows, 2], DType::F32);
    forward_row::launch::<R>(
        &logits.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        logits.clone().into_array_arg(),
        targets.clone().into_array_arg(),
        losses.clone().into_array_arg(),
        statistics.clone().into_array_arg(),
        rows as u32,
        classes as u32,
        logits.dtype.into(),
    );
    vec![losses, statistics]
}

#[cube(launch)]
fn forward_row<F: Float>(
    logits: &Array<F>,
    targets: &Array<F>,
    losses: &mut Array<f32>,
    statistics: &mut Array<f32>,
    rows: u32,
    classes: u32,
    #[define(F)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let classes = classes as usize;
    let start = row * classes;
    let unit = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let mut highest = comptime!(LOWEST).runtime();
    let mut scaled = 0.0f32;
    for column in range_stepped(unit, classes, step) {
        let x = f32::cast_from(logits[start + column]);
        if x > highest {
            scaled = scaled * (highest - x).exp() + 1.0;
            highest = x;
        } else {
            scaled += (x - highest).exp();
        }
    }
    let greatest = cube_max(highest);
    let level = greatest + cube_sum(scaled * (highest - greatest).exp()).ln();
    let mut loss = 0.0f32;
    let mut mass = 0.0f32;
    for column in range_stepped(unit, classes, step) {
        let target = f32::cast_from(targets[start + column]);
        loss += target * (level - f32::cast_from(logits[start + column]));
        mass += target;
    }
    let loss = cube_sum(loss);
    let mass = cube_sum(mass);
    if unit == 0 {
        losses[row] = loss;
        statistics[row * 2] = level;
        statistics[row * 2 + 1] = mass;
    }
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &SoftBackward,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [logits, targets, statistics, gradient] = [0, 1, 2, 3].map(|index| &inputs.floats[index]);
    let [rows, classes] = logits.shape().dims();
    let [for_logits, for_targets] = kernel.needed;
    // A gradient that nobody needs is not written.
    let [logits_out, targets_out] = kernel
        .needed
        .map(|needed| room(logits, if needed { [rows, classes] } else { [1, 1] }, logits.dtype));
    backward_row::launch::<R>(
        &logits.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        logits.clone().into_array_arg(),
        targets.clone().into_array_arg(),
        statistics.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        logits_out.clone().into_array_arg(),
        targets_out.clone().into_array_arg(),
        rows as u32,
        classes as u32,
        for_logits,
        for_targets,
        [logits.dtype.into(), gradient.dtype.into()],
    );
    let found = [logits_out, targets_out].into_iter().zip(kernel.needed);
    found.filter(|(_, needed)| *needed).map(|(out, _)| out).collect()
}

#[cube(launch)]
fn backward_row<F: Float, G: Float>(
    logits: &Array<F>,
    targets: &Array<F>,
    statistics: &Array<f32>,
    gradient: &Array<G>,
    logits_out: &mut Array<F>,
    targets_out: &mut Array<F>,
    rows: u32,
    classes: u32,
    #[comptime] for_logits: bool,
    #[comptime] for_targets: bool,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let classes = classes as usize;
    let start = row * classes;
    let level = statistics[row * 2];
    let mass = statistics[row * 2 + 1];
    let weight = f32::cast_from(gradient[row]);
    for column in range_stepped(UNIT_POS as usize, classes, comptime!(ROW_THREADS as usize)) {
        let below = f32::cast_from(logits[start + column]) - level;
        if for_logits {
            let value = mass * below.exp() - f32::cast_from(targets[start + column]);
            logits_out[start + column] = F::cast_from(weight * value);
        }
        if for_targets {
            targets_out[start + column] = F::cast_from(-weight * below);
        }
    }
}
