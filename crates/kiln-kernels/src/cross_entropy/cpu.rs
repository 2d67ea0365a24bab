//! On the CPU: rows divided among threads; each row is read once forward and once backward.

use super::{CrossEntropy, CrossEntropyBackward, CrossEntropyOptions};
use crate::{
    Tensors,
    cpu::{
        OnlineLogSumExp, buffer, chunks, contiguous, integers, math::exp, matrix, par_rows,
        par_split, simd::simd, tensor, values, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// The options as the loops need them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    target_weight: f32,
    smoothing: f32,
    z_loss: f32,
    pub(super) smoothed: bool,
}

impl Weights {
    pub(super) fn of(options: &CrossEntropyOptions, classes: usize) -> Self {
        Self {
            target_weight: options.target_weight() as f32,
            smoothing: options.smoothing(classes) as f32,
            z_loss: options.z_loss as f32,
            smoothed: options.label_smoothing > 0.0,
        }
    }

    /// A row's loss from its log-sum-exp, the target's logit and the sum of all logits.
    #[inline(always)]
    pub(super) fn loss(&self, log_sum_exp: f32, target_logit: f32, total: f32) -> f32 {
        let smoothed = if self.smoothed { self.smoothing * total } else { 0.0 };
        log_sum_exp - self.target_weight * target_logit - smoothed
            + self.z_loss * log_sum_exp * log_sum_exp
    }

    /// Logits of a row in, their gradient out; the target's own share is
    /// [`target_grad`](Self::target_grad).
    #[inline(always)]
    pub(super) fn gradient_row(
        &self,
        log_sum_exp: f32,
        gradient: f32,
        logits: &[f32],
        out: &mut [f32],
    ) {
        let scaled_grad = gradient * (1.0 + 2.0 * self.z_loss * log_sum_exp);
        let smoothing = gradient * self.smoothing;
        for (out, x) in out.iter_mut().zip(logits) {
            *out = scaled_grad * exp(x - log_sum_exp) - smoothing;
        }
    }

    /// As [`gradient_row`](Self::gradient_row), in place.
    #[inline(always)]
    pub(super) fn gradient_in_place(&self, log_sum_exp: f32, gradient: f32, logits: &mut [f32]) {
        let scaled_grad = gradient * (1.0 + 2.0 * self.z_loss * log_sum_exp);
        let smoothing = gradient * self.smoothing;
        for x in logits {
            *x = scaled_grad * exp(*x - log_sum_exp) - smoothing;
        }
    }

    /// What the gradient of the target's logit has less than the others.
    #[inline(always)]
    pub(super) fn target_grad(&self, gradient: f32) -> f32 {
        self.target_weight * gradient
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
    let (mut losses, mut log_sum_exps) = (zeros(rows), zeros(rows));
    let chunks = chunks(rows, classes);
    let work = par_split(&chunks, [(&mut losses, 1), (&mut log_sum_exps, 1)]);
    work.for_each(|(chunk, [losses, log_sum_exps])| {
        let logits = &values::<f32>(&logits)[chunk.start * classes..chunk.end * classes];
        forward_rows(logits, &targets[chunk.clone()], classes, &weights, losses, log_sum_exps);
    });
    vec![tensor(losses, [rows]), tensor(log_sum_exps, [rows])]
}

simd! {
    fn forward_rows(
        logits: &[f32],
        targets: &[Option<usize>],
        classes: usize,
        weights: &Weights,
        losses: &mut [f32],
        log_sum_exps: &mut [f32],
    ) {
        let rows = logits.chunks_exact(classes).zip(targets);
        for ((row, target), (loss, log_sum_exp)) in rows.zip(losses.iter_mut().zip(log_sum_exps)) {
            let Some(target) = target else { continue };
            let mut running = OnlineLogSumExp::NONE;
            running.add(row, weights.smoothed);
            *log_sum_exp = running.log_sum_exp();
            *loss = weights.loss(*log_sum_exp, row[*target], running.total);
        }
    }
}

pub(super) fn backward(
    CrossEntropyBackward { options }: &CrossEntropyBackward,
    mut inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let targets = inputs.ints.swap_remove(0);
    let [logits, log_sum_exps, gradient] = inputs.take().map(contiguous);
    let (rows, classes) = matrix(&logits);
    let targets = columns(options, targets, classes);
    let weights = Weights::of(options, classes);
    let mut out = buffer(rows * classes);
    par_rows(&mut out, rows, classes).for_each(|(chunk, out)| {
        let logits = &values::<f32>(&logits)[chunk.start * classes..chunk.end * classes];
        let log_sum_exps = &values::<f32>(&log_sum_exps)[chunk.clone()];
        let gradient = &values::<f32>(&gradient)[chunk.clone()];
        backward_rows(
            logits,
            &targets[chunk.clone()],
            log_sum_exps,
            gradient,
            classes,
            &weights,
            out,
        );
    });
    vec![tensor(out, [rows, classes])]
}

simd! {
    fn backward_rows(
        logits: &[f32],
        targets: &[Option<usize>],
        log_sum_exps: &[f32],
        gradient: &[f32],
        classes: usize,
        weights: &Weights,
        out: &mut [f32],
    ) {
        let rows = logits.chunks_exact(classes).zip(out.chunks_exact_mut(classes));
        let settings = targets.iter().zip(log_sum_exps).zip(gradient);
        for ((row, out), ((target, log_sum_exp), gradient)) in rows.zip(settings) {
            let Some(target) = target else {
                out.fill(0.0);
                continue;
            };
            weights.gradient_row(*log_sum_exp, *gradient, row, out);
            out[*target] -= weights.target_grad(*gradient);
        }
    }
}
