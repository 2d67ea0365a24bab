//! On the CPU: rows divided among threads; each row is read once forward and once backward.

use super::{CrossEntropy, CrossEntropyBackward, CrossEntropyOptions};
use crate::{
    Tensors,
    cpu::{
        Running, contiguous, integers, math::exp, matrix, parts, room, simd::simd, split_rows,
        tensor, values, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// The options as the loops need them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    hit: f32,
    spread: f32,
    z_loss: f32,
    pub(super) smoothed: bool,
}

impl Weights {
    pub(super) fn of(options: &CrossEntropyOptions, classes: usize) -> Self {
        Self {
            hit: options.hit() as f32,
            spread: options.spread(classes) as f32,
            z_loss: options.z_loss as f32,
            smoothed: options.label_smoothing > 0.0,
        }
    }

    /// A row's loss from its log-sum-exp, the target's logit and the sum of all logits.
    #[inline(always)]
    pub(super) fn loss(&self, level: f32, hit: f32, total: f32) -> f32 {
        let smoothed = if self.smoothed { self.spread * total } else { 0.0 };
        level - self.hit * hit - smoothed + self.z_loss * level * level
    }

    /// Logits of a row in, their gradient out; the target's own share is [`hit`](Self::hit).
    #[inline(always)]
    pub(super) fn gradient_row(&self, level: f32, gradient: f32, logits: &[f32], out: &mut [f32]) {
        let risen = gradient * (1.0 + 2.0 * self.z_loss * level);
        let spread = gradient * self.spread;
        for (out, x) in out.iter_mut().zip(logits) {
            *out = risen * exp(x - level) - spread;
        }
    }

    /// As [`gradient_row`](Self::gradient_row), in place.
    #[inline(always)]
    pub(super) fn gradient_in_place(&self, level: f32, gradient: f32, logits: &mut [f32]) {
        let risen = gradient * (1.0 + 2.0 * self.z_loss * level);
        let spread = gradient * self.spread;
        for x in logits {
            *x = risen * exp(*x - level) - spread;
        }
    }

    /// What the gradient of the target's logit has less than the others.
    #[inline(always)]
    pub(super) fn hit(&self, gradient: f32) -> f32 {
        self.hit * gradient
    }
}

/// The targets as columns; None where ignored.
///
/// # Panics
/// When one is out of range.
pub(super) fn columns(
    options: &CrossEntropyOptions,
    targets: FlexTensor,
    classes: usize,
) -> Vec<Option<usize>> {
    let column = |target: i64| {
        if options.ignore_index == Some(target) {
            return None;
        }
        let column = usize::try_from(target).ok().filter(|&column| column < classes);
        assert!(column.is_some(), "cross-entropy: target {target} of {classes} classes");
        column
    };
    integers(targets).into_iter().map(column).collect()
}

pub(super) fn forward(
    CrossEntropy { options }: &CrossEntropy,
    mut inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let targets = inputs.ints.swap_remove(0);
    let [logits] = inputs.take().map(contiguous);
    let (rows, classes) = matrix(&logits);
    let targets = columns(options, targets, classes);
    let weights = Weights::of(options, classes);
    let (mut losses, mut levels) = (zeros(rows), zeros(rows));
    let parts = parts(rows, classes);
    let work: Vec<_> = parts
        .iter()
        .zip(split_rows(&mut losses, 1, &parts))
        .zip(split_rows(&mut levels, 1, &parts))
        .collect();
    work.into_par_iter().for_each(|((part, losses), levels)| {
        let logits = &values::<f32>(&logits)[part.start * classes..part.end * classes];
        forward_rows(logits, &targets[part.clone()], classes, &weights, losses, levels);
    });
    vec![tensor(losses, [rows]), tensor(levels, [rows])]
}

simd! {
    fn forward_rows(
        logits: &[f32],
        targets: &[Option<usize>],
        classes: usize,
        weights: &Weights,
        losses: &mut [f32],
        levels: &mut [f32],
    ) {
        let rows = logits.chunks_exact(classes).zip(targets);
        for ((row, target), (loss, level)) in rows.zip(losses.iter_mut().zip(levels)) {
            let Some(target) = target else { continue };
            let mut running = Running::NONE;
            running.add(row, weights.smoothed);
            *level = running.log_sum_exp();
            *loss = weights.loss(*level, row[*target], running.total);
        }
    }
}

pub(super) fn backward(
    CrossEntropyBackward { options }: &CrossEntropyBackward,
    mut inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let targets = inputs.ints.swap_remove(0);
    let [logits, levels, gradient] = inputs.take().map(contiguous);
    let (rows, classes) = matrix(&logits);
    let targets = columns(options, targets, classes);
    let weights = Weights::of(options, classes);
    let mut out = room(rows * classes);
    let parts = parts(rows, classes);
    let work: Vec<_> = parts.iter().zip(split_rows(&mut out, classes, &parts)).collect();
    work.into_par_iter().for_each(|(part, out)| {
        let logits = &values::<f32>(&logits)[part.start * classes..part.end * classes];
        let levels = &values::<f32>(&levels)[part.clone()];
        let gradient = &values::<f32>(&gradient)[part.clone()];
        backward_rows(logits, &targets[part.clone()], levels, gradient, classes, &weights, out);
    });
    vec![tensor(out, [rows, classes])]
}

simd! {
    fn backward_rows(
        logits: &[f32],
        targets: &[Option<usize>],
        levels: &[f32],
        gradient: &[f32],
        classes: usize,
        weights: &Weights,
        out: &mut [f32],
    ) {
        let rows = logits.chunks_exact(classes).zip(out.chunks_exact_mut(classes));
        let settings = targets.iter().zip(levels).zip(gradient);
        for ((row, out), ((target, level), gradient)) in rows.zip(settings) {
            let Some(target) = target else {
                out.fill(0.0);
                continue;
            };
            weights.gradient_row(*level, *gradient, row, out);
            out[*target] -= weights.hit(*gradient);
        }
    }
}
