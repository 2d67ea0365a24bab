//! On GPUs: a cube a frame for its log-sum-exp; a cube an item and direction for the recursion,
//! states in shared memory, where backward is forward of everything reversed; a cube a frame for
//! the gradient.

use super::{Ctc, CtcBackward, IMPOSSIBLE_BELOW};
use crate::{
    LOG_ZERO,
    cube::{
        CubeTensors, LOWEST, ROW_THREADS, buffer, cube_index, cube_max, cube_sum, launch,
        row_log_sum_exp,
    },
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// The most labels: two frames of states are in 16 KiB of shared memory, beside a reduction.
const MOST_LABELS: usize = 980;

/// Frames between two times that states are taken relative to the likeliest.
const SHIFT_EVERY: usize = 8;

pub(super) fn forward<R: CubeRuntime>(
    kernel: &Ctc,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let logits = &inputs.floats[0];
    let [batch, frames, classes] = logits.shape().dims();
    let [_, labels] = inputs.ints[0].shape().dims();
    if labels > MOST_LABELS {
        return None;
    }
    let log_sum_exps = buffer(logits, [batch, frames], DType::F32);
    launch!(
        frame_log_sum_exp,
        logits,
        cubes(batch * frames),
        [logits, inputs.ints[1], log_sum_exps],
        frames,
        classes,
        logits.dtype.into(),
    );
    let losses = buffer(logits, [batch], DType::F32);
    let unused = buffer(logits, [1], DType::F32);
    let instead = if kernel.zero_infinity { 0.0 } else { f32::INFINITY };
    recur(inputs, &log_sum_exps, &losses, &unused, kernel.blank, instead, false);
    Some(vec![losses, log_sum_exps])
}

#[cube(launch)]
fn frame_log_sum_exp<F: Float>(
    logits: &Array<F>,
    frame_lengths: &Array<i32>,
    log_sum_exps: &mut Array<f32>,
    count: usize,
    frames: usize,
    classes: usize,
    #[define(F)] _dtype: StorageType,
) {
    let row = cube_index(count);
    let log_sum_exp = row_log_sum_exp::<F>(logits, row * classes, classes, 1.0f32);
    if UNIT_POS == 0 {
        let within = row % frames < frame_lengths[row / frames] as usize;
        log_sum_exps[row] = select(within, log_sum_exp, 0.0f32);
    }
}

/// Launches the recursion; with `states` kept, in both directions.
fn recur<R: CubeRuntime>(
    inputs: &CubeTensors<R>,
    log_sum_exps: &CubeTensor<R>,
    losses: &CubeTensor<R>,
    states: &CubeTensor<R>,
    blank: usize,
    instead: f32,
    keep: bool,
) {
    let logits = &inputs.floats[0];
    let [batch, frames, classes] = logits.shape().dims();
    let [_, labels] = inputs.ints[0].shape().dims();
    launch!(
        recursion,
        logits,
        cubes(if keep { 2 * batch } else { batch }),
        [logits, log_sum_exps, inputs.ints[0], inputs.ints[1], inputs.ints[2], losses, states],
        batch,
        frames,
        classes,
        blank,
        instead,
        labels,
        keep,
        logits.dtype.into(),
    );
}

/// A logit as a logarithm of probability; a class that is ruled out is as good as never.
#[cube]
fn emission<F: Float>(logits: &Array<F>, at: usize, log_sum_exp: f32) -> f32 {
    let x = f32::cast_from(logits[at]) - log_sum_exp;
    select(x > comptime!(LOG_ZERO), x, comptime!(LOG_ZERO).runtime())
}

/// `ln(e^a + e^b)`.
#[cube]
fn add(a: f32, b: f32) -> f32 {
    let highest = select(a > b, a, b);
    let lowest = select(a > b, b, a);
    highest + (1.0 + (lowest - highest).exp()).ln()
}

/// States are blanks 0..=n, then labels, before which one lies that never is: label i - 1 is beside
/// blank i. A cube past the batch goes through everything reversed. Kept states are in the target's
/// own order, label i beside blank i; places past the target and frames past the length are never.
#[cube(launch)]
fn recursion<F: Float>(
    logits: &Array<F>,
    log_sum_exps: &Array<f32>,
    targets: &Array<i32>,
    frame_lengths: &Array<i32>,
    target_lengths: &Array<i32>,
    losses: &mut Array<f32>,
    states: &mut Array<f32>,
    count: usize,
    batch: usize,
    frames: usize,
    classes: usize,
    blank: usize,
    instead: f32,
    #[comptime] labels: usize,
    #[comptime] keep: bool,
    #[define(F)] _dtype: StorageType,
) {
    let cube = cube_index(count);
    let reversed = cube >= batch;
    let item = cube % batch;
    let half = comptime!(labels + 1);
    let size = comptime!(2 * (labels + 1));
    let mut length = frame_lengths[item] as usize;
    length = select(length < frames, length, frames);
    let mut count = target_lengths[item] as usize;
    count = select(count < comptime!(labels), count, comptime!(labels).runtime());
    let first_label = item * comptime!(labels);

    let mut shared = SharedMemory::<f32>::new(comptime!(4 * (labels + 1)));
    let unit = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    for state in range_stepped(unit, size, step) {
        shared[state] = select(state == 0, 0.0f32, comptime!(LOG_ZERO).runtime());
        shared[size + state] = comptime!(LOG_ZERO).runtime();
    }
    sync_cube();
    let mut shift = 0.0f32;
    for index in 0..length {
        let frame = select(reversed, length - 1 - index, index);
        let from = (index % 2) * size;
        let to = size - from;
        let row = item * frames + frame;
        let log_sum_exp = log_sum_exps[row];
        let emit_blank = emission::<F>(logits, row * classes + blank, log_sum_exp);
        for place in range_stepped(unit, count + 1, step) {
            let stay = shared[from + place];
            let before = shared[from + half + place];
            shared[to + place] = emit_blank + add(stay, before);
            if place < count {
                let at = select(reversed, count - 1 - place, place);
                let class = targets[first_label + at];
                let mut total = add(shared[from + half + place + 1], stay);
                if place > 0 {
                    let mut previous = at + 1;
                    if !reversed {
                        previous = at - 1;
                    }
                    if targets[first_label + previous] != class {
                        total = add(total, before);
                    }
                }
                let emit = emission::<F>(logits, row * classes + class as usize, log_sum_exp);
                shared[to + half + place + 1] = emit + total;
            }
        }
        if index % comptime!(SHIFT_EVERY) == comptime!(SHIFT_EVERY - 1) {
            // A thread reads and writes only the places that it wrote itself.
            let mut highest = comptime!(LOWEST).runtime();
            for place in range_stepped(unit, count + 1, step) {
                highest = max(highest, shared[to + place]);
                if place < count {
                    highest = max(highest, shared[to + half + place + 1]);
                }
            }
            let highest = cube_max(highest);
            if highest > comptime!(IMPOSSIBLE_BELOW) {
                shift += highest;
                for place in range_stepped(unit, count + 1, step) {
                    shared[to + place] -= highest;
                    if place < count {
                        shared[to + half + place + 1] -= highest;
                    }
                }
            }
        }
        if keep {
            let out = (cube * frames + frame) * size;
            for place in range_stepped(unit, half, step) {
                let mut blank_place = place;
                let mut label_place = place;
                let mut blank_state = comptime!(LOG_ZERO).runtime();
                let mut label_state = comptime!(LOG_ZERO).runtime();
                if place <= count {
                    blank_state = shared[to + place];
                    if reversed {
                        blank_place = count - place;
                    }
                }
                if place < count {
                    label_state = shared[to + half + place + 1];
                    if reversed {
                        label_place = count - 1 - place;
                    }
                }
                states[out + blank_place] = blank_state;
                if place < half - 1 {
                    states[out + half + label_place] = label_state;
                }
            }
        }
        sync_cube();
    }
    if keep {
        for frame in length..frames {
            for state in range_stepped(unit, size, step) {
                states[(cube * frames + frame) * size + state] = comptime!(LOG_ZERO).runtime();
            }
        }
    }
    if unit == 0 && !reversed {
        let last = (length % 2) * size;
        let likelihood = add(shared[last + count], shared[last + half + count]);
        let possible = likelihood > comptime!(IMPOSSIBLE_BELOW);
        losses[item] = select(possible, -(shift + likelihood), instead);
    }
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &CtcBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let [logits, log_sum_exps, gradient] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let [batch, frames, classes] = logits.shape().dims();
    let [_, labels] = inputs.ints[0].shape().dims();
    if labels > MOST_LABELS {
        return None;
    }
    let losses = buffer(logits, [batch], DType::F32);
    let states = buffer(logits, [2, batch, frames, 2 * (labels + 1)], DType::F32);
    recur(inputs, log_sum_exps, &losses, &states, kernel.blank, 0.0, true);
    let out = buffer(logits, logits.shape(), logits.dtype);
    launch!(
        gradient_frame,
        logits,
        cubes(batch * frames),
        [logits, log_sum_exps, inputs.ints[0], gradient, states, out],
        frames,
        classes,
        kernel.blank,
        labels,
        [logits.dtype.into(), gradient.dtype.into()],
    );
    Some(vec![out])
}

/// The share of each state in all alignments, and from it the gradient: softmax less the shares of
/// the class's states.
#[cube(launch)]
fn gradient_frame<F: Float, G: Float>(
    logits: &Array<F>,
    log_sum_exps: &Array<f32>,
    targets: &Array<i32>,
    gradient: &Array<G>,
    states: &Array<f32>,
    out: &mut Array<F>,
    rows: usize,
    frames: usize,
    classes: usize,
    blank: usize,
    #[comptime] labels: usize,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    let row = cube_index(rows);
    let half = comptime!(labels + 1);
    let size = comptime!(2 * (labels + 1));
    let item = row / frames;
    let first_label = item * comptime!(labels);
    let log_sum_exp = log_sum_exps[row];
    let start = row * classes;
    let unit = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let mut shares = SharedMemory::<f32>::new(comptime!(2 * (labels + 1)));

    let emit_blank = emission::<F>(logits, start + blank, log_sum_exp);
    let mut highest = comptime!(LOWEST).runtime();
    for place in range_stepped(unit, half, step) {
        let earlier = states[row * size + place];
        let later = states[(rows + row) * size + place];
        // Both ways count the frame itself.
        let share = earlier + later - emit_blank;
        shares[place] = share;
        highest = max(highest, share);
        let mut share = comptime!(LOWEST).runtime();
        if place < half - 1 {
            let earlier = states[row * size + half + place];
            let later = states[(rows + row) * size + half + place];
            if earlier > comptime!(IMPOSSIBLE_BELOW) && later > comptime!(IMPOSSIBLE_BELOW) {
                let class = targets[first_label + place] as usize;
                share = earlier + later - emission::<F>(logits, start + class, log_sum_exp);
            }
        }
        shares[half + place] = share;
        highest = max(highest, share);
    }
    let highest = cube_max(highest);
    // Where no state is on the way from start to end, there is no alignment, or no frame.
    let possible = highest > comptime!(IMPOSSIBLE_BELOW);
    let mut blank_total = 0.0f32;
    let mut label_total = 0.0f32;
    for place in range_stepped(unit, half, step) {
        let share = (shares[place] - highest).exp();
        blank_total += share;
        let share = (shares[half + place] - highest).exp();
        shares[half + place] = share;
        label_total += share;
    }
    let blank_total = cube_sum(blank_total);
    let label_total = cube_sum(label_total);
    let weight = f32::cast_from(gradient[item]);
    let share_unit = 1.0f32 / (blank_total + label_total);
    for class in range_stepped(unit, classes, step) {
        let mut value = (f32::cast_from(logits[start + class]) - log_sum_exp).exp();
        if class == blank {
            value -= blank_total * share_unit;
        }
        out[start + class] = F::cast_from(select(possible, weight * value, 0.0f32));
    }
    // The thread that wrote a class above writes it again where it is a label: nobody else does.
    if possible {
        for place in 0..half - 1 {
            if shares[half + place] > 0.0 {
                let label = targets[first_label + place];
                let class = label as usize;
                if class % step == unit {
                    let mut total = 0.0f32;
                    let mut seen = false;
                    for other in 0..half - 1 {
                        let share = shares[half + other];
                        if share > 0.0 && targets[first_label + other] == label {
                            total += share;
                            if other < place {
                                seen = true;
                            }
                        }
                    }
                    if !seen {
                        let softmax = (f32::cast_from(logits[start + class]) - log_sum_exp).exp();
                        let value = weight * (softmax - total * share_unit);
                        out[start + class] = F::cast_from(value);
                    }
                }
            }
        }
    }
}
