//! On the CPU: items divided among threads. States of blanks and of labels lie apart, so that a
//! frame's recursion is one loop over neighbours that vectorises; the backward recursion is the
//! forward one of everything reversed.

use super::{Ctc, CtcBackward, IMPOSSIBLE_BELOW};
use crate::LOG_ZERO;
use crate::{
    Tensors,
    cpu::{
        OnlineLogSumExp, chunks, contiguous, integers,
        math::{exp, ln},
        par_rows, par_split,
        simd::{max, simd, sum},
        tensor, values, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// The integers of a batch, checked.
struct Batch {
    targets: Vec<Vec<usize>>,
    frames: Vec<usize>,
}

impl Batch {
    /// # Panics
    /// When a length or a label is out of range.
    fn of(ints: Vec<burn_flex::FlexTensor>, max_frames: usize, classes: usize) -> Self {
        let max_target = ints[0].layout().shape()[1];
        let ints: Vec<Vec<i64>> = ints.into_iter().map(integers).collect();
        let within = |value: i64, end: usize| {
            let value = usize::try_from(value).ok().filter(|&value| value < end);
            assert!(value.is_some(), "ctc_loss: a length or a label is out of range");
            value.unwrap_or_default()
        };
        let targets = ints[0].chunks(max_target.max(1)).zip(&ints[2]).map(|(target, &length)| {
            let target = &target[..within(length, max_target + 1)];
            target.iter().map(|&label| within(label, classes)).collect()
        });
        let targets = targets.collect();
        let frames = ints[1].iter().map(|&length| within(length, max_frames + 1)).collect();
        Self { targets, frames }
    }
}

/// A target in the order in which it is gone through.
struct Labels {
    classes: Vec<usize>,
    /// 0 where label i may follow label i - 1 without a blank between them, else never.
    direct: Vec<f32>,
    /// The frame's logarithms of probability of the labels.
    emitted: Vec<f32>,
}

impl Labels {
    fn new(classes: Vec<usize>) -> Self {
        let direct = (0..classes.len())
            .map(|i| if i > 0 && classes[i] != classes[i - 1] { 0.0 } else { LOG_ZERO })
            .collect();
        let emitted = vec![0.0; classes.len()];
        Self { classes, direct, emitted }
    }

    /// Reads a frame's logits; the blank's logarithm of probability.
    fn read(&mut self, logits: &[f32], log_sum_exp: f32, blank: usize) -> f32 {
        // A class that is ruled out altogether is as good as never.
        let of = |class: usize| (logits[class] - log_sum_exp).max(LOG_ZERO);
        for (emitted, &class) in self.emitted.iter_mut().zip(&self.classes) {
            *emitted = of(class);
        }
        of(blank)
    }

    /// How many values a frame's states are: blanks 0..=n, and labels, before which one lies that
    /// never is.
    fn states(&self) -> usize {
        2 * (self.classes.len() + 1)
    }

    /// The states before the first frame: the first blank, for sure.
    fn start(&self) -> Vec<f32> {
        let mut states = vec![LOG_ZERO; self.states()];
        states[0] = 0.0;
        states
    }
}

/// One frame of the recursion. The states come out relative to the likeliest, whose logarithm is
/// returned.
#[inline(always)]
fn step(before: &[f32], emit_blank: f32, labels: &Labels, after: &mut [f32]) -> f32 {
    let count = labels.classes.len();
    let (blanks, label_states) = before.split_at(count + 1);
    let (next_blanks, next_labels) = after.split_at_mut(count + 1);
    for ((next, a), b) in next_blanks.iter_mut().zip(blanks).zip(label_states) {
        let highest = if a > b { *a } else { *b };
        let lowest = if a > b { *b } else { *a };
        *next = emit_blank + highest + ln(1.0 + exp(lowest - highest));
    }
    next_labels[0] = LOG_ZERO;
    let next_labels = &mut next_labels[1..];
    let stay = &label_states[1..];
    let terms = labels.direct.iter().zip(&labels.emitted).zip(blanks);
    for (((next, a), c), ((direct, emitted), b)) in
        next_labels.iter_mut().zip(stay).zip(label_states).zip(terms)
    {
        let c = c + direct;
        let highest = if a > b { *a } else { *b };
        let highest = if highest > c { highest } else { c };
        let total = exp(a - highest) + exp(b - highest) + exp(c - highest);
        *next = emitted + highest + ln(total);
    }
    let highest = max(after);
    if highest > IMPOSSIBLE_BELOW {
        for state in after.iter_mut() {
            *state -= highest;
        }
    }
    highest
}

/// The logarithm of the likelihood from the states after the last frame.
fn end(states: &[f32], shift: f64) -> f64 {
    let count = states.len() / 2;
    let (blank, label) = (states[count - 1], states[2 * count - 1]);
    let highest = blank.max(label);
    if highest < IMPOSSIBLE_BELOW {
        return f64::NEG_INFINITY;
    }
    shift + f64::from(highest + ln(exp(blank - highest) + exp(label - highest)))
}

pub(super) fn forward(kernel: &Ctc, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let logits = contiguous(inputs.floats[0].clone());
    let shape = logits.layout().shape();
    let (items, frames, classes) = (shape[0], shape[1], shape[2]);
    let batch = Batch::of(inputs.ints, frames, classes);
    let logits = values::<f32>(&logits);
    let (mut losses, mut log_sum_exps) = (zeros(items), zeros(items * frames));
    let chunks = chunks(items, frames * classes);
    let work = par_split(&chunks, [(&mut losses, 1), (&mut log_sum_exps, frames)]);
    work.for_each(|(chunk, [losses, log_sum_exps])| {
        for (index, item) in chunk.clone().enumerate() {
            let logits = &logits[item * frames * classes..(item + 1) * frames * classes];
            let logits = &logits[..batch.frames[item] * classes];
            let log_sum_exps = &mut log_sum_exps[index * frames..(index + 1) * frames];
            let labels = Labels::new(batch.targets[item].clone());
            let likelihood = forward_item(logits, classes, kernel.blank, labels, log_sum_exps);
            let impossible = likelihood == f64::NEG_INFINITY && kernel.zero_infinity;
            losses[index] = if impossible { 0.0 } else { -likelihood as f32 };
        }
    });
    vec![tensor(losses, [items]), tensor(log_sum_exps, [items, frames])]
}

simd! {
    fn forward_item(
        logits: &[f32],
        classes: usize,
        blank: usize,
        labels: Labels,
        log_sum_exps: &mut [f32],
    ) -> f64 {
        let mut labels = labels;
        let mut states = labels.start();
        let mut next = states.clone();
        let mut shift = 0.0f64;
        for (frame, log_sum_exp) in logits.chunks_exact(classes).zip(log_sum_exps) {
            let mut running = OnlineLogSumExp::NONE;
            running.add(frame, false);
            *log_sum_exp = running.log_sum_exp();
            let emit_blank = labels.read(frame, *log_sum_exp, blank);
            let highest = step(&states, emit_blank, &labels, &mut next);
            shift += f64::from(highest);
            std::mem::swap(&mut states, &mut next);
        }
        end(&states, shift)
    }
}

pub(super) fn backward(kernel: &CtcBackward, mut inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let ints = std::mem::take(&mut inputs.ints);
    let [logits, log_sum_exps, gradient] = inputs.take().map(contiguous);
    let shape = logits.layout().shape().clone();
    let (items, frames, classes) = (shape[0], shape[1], shape[2]);
    let batch = Batch::of(ints, frames, classes);
    let (logits, log_sum_exps) = (values::<f32>(&logits), values::<f32>(&log_sum_exps));
    let gradient = values::<f32>(&gradient);
    let mut out = zeros(items * frames * classes);
    par_rows(&mut out, items, frames * classes).for_each(|(chunk, out)| {
        for (item, out) in chunk.zip(out.chunks_exact_mut((frames * classes).max(1))) {
            let length = batch.frames[item];
            let start = item * frames * classes;
            let item = Item {
                logits: &logits[start..start + length * classes],
                log_sum_exps: &log_sum_exps[item * frames..item * frames + length],
                classes,
                blank: kernel.blank,
                target: &batch.targets[item],
                gradient: gradient[item],
            };
            backward_item(&item, out);
        }
    });
    vec![tensor(out, shape)]
}

/// One item of the batch, cut to its length.
struct Item<'a> {
    logits: &'a [f32],
    log_sum_exps: &'a [f32],
    classes: usize,
    blank: usize,
    target: &'a [usize],
    gradient: f32,
}

simd! {
    fn backward_item(item: &Item<'_>, out: &mut [f32]) {
        let mut labels = Labels::new(item.target.to_vec());
        let mut reversed = Labels::new(item.target.iter().rev().copied().collect());
        let count = item.target.len();
        let size = labels.states();
        // The states after every frame, from the first on.
        let mut states = labels.start();
        states.resize(size * (item.log_sum_exps.len() + 1), LOG_ZERO);
        for (frame, (logits, log_sum_exp)) in
            item.logits.chunks_exact(item.classes).zip(item.log_sum_exps).enumerate()
        {
            let emit_blank = labels.read(logits, *log_sum_exp, item.blank);
            let (before, after) = states.split_at_mut((frame + 1) * size);
            step(&before[frame * size..], emit_blank, &labels, &mut after[..size]);
        }
        if end(&states[item.log_sum_exps.len() * size..], 0.0) == f64::NEG_INFINITY {
            return;
        }
        // From the last frame back, all labels reversed.
        let mut later = reversed.start();
        let mut next = later.clone();
        let mut shares = later.clone();
        for (frame, log_sum_exp) in item.log_sum_exps.iter().enumerate().rev() {
            let range = frame * item.classes..(frame + 1) * item.classes;
            let logits = &item.logits[range.clone()];
            let out = &mut out[range];
            let emit_blank = reversed.read(logits, *log_sum_exp, item.blank);
            step(&later, emit_blank, &reversed, &mut next);
            std::mem::swap(&mut later, &mut next);
            // Both ways count the frame itself.
            let earlier = &states[(frame + 1) * size..(frame + 2) * size];
            let (earlier_blanks, earlier_labels) = earlier.split_at(count + 1);
            let (later_blanks, later_labels) = later.split_at(count + 1);
            let (blank_shares, label_shares) = shares.split_at_mut(count + 1);
            let pairs = earlier_blanks.iter().zip(later_blanks.iter().rev());
            for (share, (earlier, later)) in blank_shares.iter_mut().zip(pairs) {
                *share = earlier + later - emit_blank;
            }
            let pairs = earlier_labels[1..].iter().zip(later_labels[1..].iter().rev());
            let emitted = reversed.emitted.iter().rev();
            for ((share, (earlier, later)), emitted) in
                label_shares[1..].iter_mut().zip(pairs).zip(emitted)
            {
                *share = earlier + later - emitted;
            }
            // The place before the first label is no state.
            label_shares[0] = LOG_ZERO;
            let highest = max(&shares);
            for share in shares.iter_mut() {
                *share = exp(*share - highest);
            }
            // Every alignment is in one state at a time: shares of a frame sum to one.
            let unit = item.gradient / sum(&shares, |share| share);
            for (out, x) in out.iter_mut().zip(logits) {
                *out = item.gradient * exp(x - log_sum_exp);
            }
            let (blank_shares, label_shares) = shares.split_at(count + 1);
            out[item.blank] -= unit * sum(blank_shares, |share| share);
            for (share, &class) in label_shares[1..].iter().zip(item.target) {
                out[class] -= unit * share;
            }
        }
    }
}
