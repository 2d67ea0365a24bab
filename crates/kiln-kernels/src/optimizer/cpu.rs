//! On the CPU: the values of all parameters are cut into shares of equal size, whichever parameters
//! they lie in.

use super::{AdamWUpdate, Ema, Factors};
use crate::{
    Tensors,
    cpu::{contiguous, simd::simd, updatable, values, values_mut},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// Below this many values a share is not worth a thread.
const GRAIN: usize = 16 * 1024;

/// Parts of tensors, by number and length, in shares of equal size: four a thread, so that a thread
/// that is held up does not hold up all.
fn shares(lengths: &[usize]) -> Vec<Vec<(usize, usize)>> {
    let total: usize = lengths.iter().sum();
    let share = total.div_ceil(4 * rayon::current_num_threads()).max(GRAIN);
    let mut shares = Vec::with_capacity(total.div_ceil(share));
    let (mut current, mut free) = (Vec::new(), share);
    for (tensor, &length) in lengths.iter().enumerate() {
        let mut left = length;
        while left > 0 {
            let chunk = left.min(free);
            current.push((tensor, chunk));
            left -= chunk;
            free -= chunk;
            if free == 0 {
                shares.push(std::mem::take(&mut current));
                free = share;
            }
        }
    }
    shares.push(current);
    shares
}

/// The first `length` values of what is left of a tensor.
fn take<'a>(left: &mut &'a [f32], length: usize) -> &'a [f32] {
    let (head, tail) = left.split_at(length);
    *left = tail;
    head
}

/// The same, to write.
fn take_mut<'a>(left: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(left).split_at_mut(length);
    *left = tail;
    head
}

/// A part of a parameter.
struct Part<'a> {
    weight: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    factors: Factors,
}

pub(super) fn adamw(kernel: &AdamWUpdate, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let mut gradients = Vec::with_capacity(kernel.rates.len());
    let mut updated = Vec::with_capacity(kernel.rates.len() * 3);
    for (index, tensor) in inputs.floats.into_iter().enumerate() {
        match index % 4 {
            1 => gradients.push(contiguous(tensor)),
            _ => updated.push(updatable(tensor)),
        }
    }
    let lengths: Vec<usize> = gradients.iter().map(|tensor| values::<f32>(tensor).len()).collect();
    let mut left = Vec::with_capacity(lengths.len());
    for ((tensors, gradient), &rates) in
        updated.chunks_exact_mut(3).zip(&gradients).zip(&kernel.rates)
    {
        if let [weight, mean, square] = tensors {
            left.push(Part {
                weight: values_mut(weight),
                gradient: values(gradient),
                mean: values_mut(mean),
                square: values_mut(square),
                factors: kernel.factors(rates),
            });
        }
    }
    let mut work = Vec::new();
    for share in shares(&lengths) {
        let chunks = share.into_iter().map(|(tensor, length)| {
            let left = &mut left[tensor];
            Part {
                weight: take_mut(&mut left.weight, length),
                gradient: take(&mut left.gradient, length),
                mean: take_mut(&mut left.mean, length),
                square: take_mut(&mut left.square, length),
                factors: left.factors,
            }
        });
        work.push(chunks.collect::<Vec<_>>());
    }
    work.into_par_iter().flatten_iter().for_each(|chunk| {
        let Part { weight, gradient, mean, square, factors } = chunk;
        adamw_values(weight, gradient, mean, square, factors);
    });
    drop(left);
    updated
}

simd! {
    fn adamw_values(
        weight: &mut [f32],
        gradient: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
        factors: Factors,
    ) {
        let [mean_keep, mean_add] = factors.mean.map(|factor| factor as f32);
        let [square_keep, square_add] = factors.square.map(|factor| factor as f32);
        let (gradient_scale, root_scale) = (factors.gradient as f32, factors.root as f32);
        let (epsilon, keep, rate) =
            (factors.epsilon as f32, factors.weight as f32, factors.update as f32);
        let state = mean.iter_mut().zip(square.iter_mut());
        for ((weight, gradient), (mean, square)) in weight.iter_mut().zip(gradient).zip(state) {
            let gradient = gradient * gradient_scale;
            *mean = *mean * mean_keep + gradient * mean_add;
            *square = *square * square_keep + gradient * gradient * square_add;
            *weight = *weight * keep - *mean / (square.sqrt() * root_scale + epsilon) * rate;
        }
    }
}

pub(super) fn ema(kernel: &Ema, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (mut averages, mut weights) = (Vec::new(), Vec::new());
    for (index, tensor) in inputs.floats.into_iter().enumerate() {
        match index % 2 {
            0 => averages.push(updatable(tensor)),
            _ => weights.push(contiguous(tensor)),
        }
    }
    let lengths: Vec<usize> = weights.iter().map(|tensor| values::<f32>(tensor).len()).collect();
    let mut left: Vec<(&mut [f32], &[f32])> =
        averages.iter_mut().map(values_mut).zip(weights.iter().map(values)).collect();
    let mut work = Vec::new();
    for share in shares(&lengths) {
        let chunks = share.into_iter().map(|(tensor, length)| {
            let (average, weight) = &mut left[tensor];
            (take_mut(average, length), take(weight, length))
        });
        work.push(chunks.collect::<Vec<_>>());
    }
    let decay = kernel.decay;
    work.into_par_iter().flatten_iter().for_each(|(average, weight)| {
        ema_values(average, weight, decay as f32, (1.0 - decay) as f32);
    });
    averages
}

simd! {
    fn ema_values(average: &mut [f32], weight: &[f32], keep: f32, add: f32) {
        for (average, weight) in average.iter_mut().zip(weight) {
            *average = *average * keep + weight * add;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_equal_size_and_miss_nothing() {
        for lengths in [vec![], vec![0, 3], vec![1; 300], vec![GRAIN * 9 + 5, 0, 7, GRAIN * 3]] {
            let shares = shares(&lengths);
            let mut found = vec![0; lengths.len()];
            for share in &shares {
                for &(tensor, length) in share {
                    assert!(found[tensor + 1..].iter().all(|&found| found == 0), "in order");
                    found[tensor] += length;
                }
            }
            assert_eq!(found, lengths);
            let sizes: Vec<usize> =
                shares.iter().map(|share| share.iter().map(|chunk| chunk.1).sum()).collect();
            assert!(sizes.windows(3).all(|sizes| sizes[0] == sizes[1]), "{sizes:?}");
        }
    }
}
