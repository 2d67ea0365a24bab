//! On the CPU: rows divided among threads; each row is read once forward and once backward.

use super::SoftBackward;
use crate::{
    Tensors,
    cpu::{
        Running, contiguous,
        math::exp,
        matrix, parts, room,
        simd::{simd, sum, sum2},
        split_rows, tensor, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn forward(inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [logits, targets] = inputs.take().map(contiguous);
    let (rows, classes) = matrix(&logits);
    let (mut losses, mut statistics) = (room(rows), room(rows * 2));
    let parts = parts(rows, classes);
    let work: Vec<_> = parts
        .iter()
        .zip(split_rows(&mut losses, 1, &parts))
        .zip(split_rows(&mut statistics, 2, &parts))
        .collect();
    work.into_par_iter().for_each(|((part, losses), statistics)| {
        let part = part.start * classes..part.end * classes;
        let logits = &values::<f32>(&logits)[part.clone()];
        forward_rows(logits, &values::<f32>(&targets)[part], classes, losses, statistics);
    });
    vec![tensor(losses, [rows]), tensor(statistics, [rows, 2])]
}

simd! {
    fn forward_rows(
        logits: &[f32],
        targets: &[f32],
        classes: usize,
        losses: &mut [f32],
        statistics: &mut [f32],
    ) {
        let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
        let out = losses.iter_mut().zip(statistics.chunks_exact_mut(2));
        for ((logits, targets), (loss, statistics)) in rows.zip(out) {
            let mut running = Running::NONE;
            running.add(logits, false);
            let level = running.log_sum_exp();
            // A difference of sums would cancel where logits are far from zero.
            *loss = sum2(logits, targets, |x, target| target * (level - x));
            statistics[0] = level;
            statistics[1] = sum(targets, |target| target);
        }
    }
}

pub(super) fn backward(kernel: &SoftBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [logits, targets, statistics, gradient] = inputs.take().map(contiguous);
    let (rows, classes) = matrix(&logits);
    let [for_logits, for_targets] = kernel.needed;
    // A gradient that nobody needs has rows of no values.
    let widths = [for_logits, for_targets].map(|needed| if needed { classes } else { 0 });
    let mut out = widths.map(|width| room(rows * width));
    let parts = parts(rows, classes);
    let [logits_out, targets_out] = &mut out;
    let work: Vec<_> = parts
        .iter()
        .zip(split_rows(logits_out, widths[0], &parts))
        .zip(split_rows(targets_out, widths[1], &parts))
        .collect();
    work.into_par_iter().for_each(|((part, logits_out), targets_out)| {
        for (index, row) in part.clone().enumerate() {
            let range = row * classes..(row + 1) * classes;
            let x = &values::<f32>(&logits)[range.clone()];
            let [level, mass] = [0, 1].map(|column| values::<f32>(&statistics)[row * 2 + column]);
            let gradient = values::<f32>(&gradient)[row];
            if for_logits {
                let targets = &values::<f32>(&targets)[range];
                let out = &mut logits_out[index * classes..(index + 1) * classes];
                logits_row(x, targets, level, mass, gradient, out);
            }
            if for_targets {
                let out = &mut targets_out[index * classes..(index + 1) * classes];
                targets_row(x, level, gradient, out);
            }
        }
    });
    let needed = out.into_iter().zip(kernel.needed).filter(|(_, needed)| *needed);
    needed.map(|(out, _)| tensor(out, [rows, classes])).collect()
}

simd! {
    fn logits_row(
        logits: &[f32],
        targets: &[f32],
        level: f32,
        mass: f32,
        gradient: f32,
        out: &mut [f32],
    ) {
        for ((out, x), target) in out.iter_mut().zip(logits).zip(targets) {
            *out = gradient * (mass * exp(x - level) - target);
        }
    }
}

simd! {
    fn targets_row(logits: &[f32], level: f32, gradient: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(logits) {
            *out = gradient * (level - x);
        }
    }
}
