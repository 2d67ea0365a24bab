//! On the CPU: frames divided among threads, sums for every channel, added in the order of the
//! parts; groups are sums over channels.

use super::{GroupNorm, GroupNormBackward};
use crate::{
    Activation, Tensors,
    cpu::{buffer, contiguous, par_split, sequence_chunks, simd::simd, tensor, values, zeros},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// Frames whose mean is taken before their squares, while they are in cache.
const BLOCK: usize = 64;

pub(super) fn forward(norm: &GroupNorm, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, weight, bias] = inputs.take().map(contiguous);
    let shape = x.layout().shape().clone();
    let [batch, frames, channels] = shape.dims();
    let (groups, gelu) = (norm.options.groups, norm.options.gelu);
    let x = values::<f32>(&x);
    let sequence_chunks = sequence_chunks(batch, frames, channels, frames);
    let moments: Vec<Moments> = sequence_chunks
        .par_iter()
        .map(|chunk| Moments::of(&x[chunk.start * channels..chunk.end * channels], channels))
        .collect();
    let mut statistics = zeros(batch * groups * 2);
    for (sequence, statistics) in statistics.chunks_exact_mut(groups * 2).enumerate() {
        let mut all = Moments::of(&[], channels);
        let own = sequence_chunks
            .iter()
            .zip(&moments)
            .filter(|(chunk, _)| chunk.start / frames == sequence);
        own.for_each(|(_, moments)| all.add(moments.count, &moments.mean, &moments.squares));
        all.statistics(norm.options.epsilon, statistics);
    }

    let mut out = buffer(x.len());
    par_split(&sequence_chunks, [(&mut out, channels)]).for_each(|(chunk, [out])| {
        let (mean, mut scale) = expand(&statistics, chunk.start / frames, groups, channels);
        for (scale, weight) in scale.iter_mut().zip(values::<f32>(&weight)) {
            *scale *= weight;
        }
        let x = &x[chunk.start * channels..chunk.end * channels];
        if gelu {
            normalise::<true>(x, &mean, &scale, values(&bias), out);
        } else {
            normalise::<false>(x, &mean, &scale, values(&bias), out);
        }
    });
    vec![tensor(out, shape), tensor(statistics, [batch, groups, 2])]
}

simd! {
    fn normalise<const GELU: bool>(
        x: &[f32],
        mean: &[f32],
        scale: &[f32],
        bias: &[f32],
        out: &mut [f32],
    ) {
        let channels = mean.len();
        let (scale, bias) = (&scale[..channels], &bias[..channels]);
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let value = (x[channel] - mean[channel]) * scale[channel] + bias[channel];
                out[channel] = if GELU { Activation::Gelu.value(value) } else { value };
            }
        }
    }
}

/// Means of channels over some frames and sums of squared distances from them.
#[derive(Debug)]
struct Moments {
    count: usize,
    mean: Vec<f32>,
    squares: Vec<f32>,
}

impl Moments {
    fn of(x: &[f32], channels: usize) -> Self {
        let mut moments =
            Self { count: 0, mean: vec![0.0; channels], squares: vec![0.0; channels] };
        let (mut mean, mut squares) = (zeros(channels), zeros(channels));
        for block in x.chunks(BLOCK * channels) {
            block_moments(block, &mut mean, &mut squares);
            moments.add(block.len() / channels, &mean, &squares);
        }
        moments
    }

    /// Adds those of other frames (T. Chan, G. Golub, R. LeVeque, 1979).
    fn add(&mut self, count: usize, mean: &[f32], squares: &[f32]) {
        let total = (self.count + count).max(1) as f32;
        let share = count as f32 / total;
        merge(&mut self.mean, &mut self.squares, mean, squares, share, share * self.count as f32);
        self.count += count;
    }

    /// Each group's mean and one over its deviation.
    fn statistics(&self, epsilon: f64, statistics: &mut [f32]) {
        let width = self.mean.len() * 2 / statistics.len();
        let channels = self.mean.chunks_exact(width).zip(self.squares.chunks_exact(width));
        for ((means, squares), statistics) in channels.zip(statistics.chunks_exact_mut(2)) {
            let mean = means.iter().copied().map(f64::from).sum::<f64>() / width as f64;
            let distances = means.iter().map(|&channel| (f64::from(channel) - mean).powi(2));
            let between = distances.sum::<f64>() / width as f64;
            let within = squares.iter().copied().map(f64::from).sum::<f64>();
            let variance = between + within / (width * self.count.max(1)) as f64;
            statistics[0] = mean as f32;
            statistics[1] = (1.0 / (variance + epsilon).sqrt()) as f32;
        }
    }
}

simd! {
    fn block_moments(x: &[f32], mean: &mut [f32], squares: &mut [f32]) {
        let channels = mean.len();
        let squares = &mut squares[..channels];
        let share = channels as f32 / x.len() as f32;
        mean.fill(0.0);
        squares.fill(0.0);
        for x in x.chunks_exact(channels) {
            for channel in 0..channels {
                mean[channel] += x[channel];
            }
        }
        for mean in mean.iter_mut() {
            *mean *= share;
        }
        for x in x.chunks_exact(channels) {
            for channel in 0..channels {
                let distance = x[channel] - mean[channel];
                squares[channel] += distance * distance;
            }
        }
    }
}

simd! {
    fn merge(
        mean: &mut [f32],
        squares: &mut [f32],
        other_mean: &[f32],
        other_squares: &[f32],
        share: f32,
        weight: f32,
    ) {
        let channels = mean.len();
        let squares = &mut squares[..channels];
        let (other_mean, other_squares) = (&other_mean[..channels], &other_squares[..channels]);
        for channel in 0..channels {
            let distance = other_mean[channel] - mean[channel];
            mean[channel] += distance * share;
            squares[channel] += other_squares[channel] + distance * distance * weight;
        }
    }
}

/// A sequence's statistics of every channel's group: means, and ones over deviations.
fn expand(
    statistics: &[f32],
    sequence: usize,
    groups: usize,
    channels: usize,
) -> (Vec<f32>, Vec<f32>) {
    let width = channels / groups;
    let statistics = &statistics[sequence * groups * 2..(sequence + 1) * groups * 2];
    let of = |which| {
        let numbers = statistics.chunks_exact(2).map(move |pair: &[f32]| pair[which]);
        numbers.flat_map(move |number| std::iter::repeat_n(number, width)).collect()
    };
    (of(0), of(1))
}

pub(super) fn backward(norm: &GroupNormBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, weight, bias, statistics, mut gradient] = inputs.take().map(contiguous);
    let shape = x.layout().shape().clone();
    let [batch, frames, channels] = shape.dims();
    let groups = norm.options.groups;
    let (x, statistics) = (values::<f32>(&x), values::<f32>(&statistics));
    let (weight, bias) = (values::<f32>(&weight), values::<f32>(&bias));
    let sequence_chunks = sequence_chunks(batch, frames, channels, frames);

    // The gradient before GELU and, later, that of x take the gradient's place where nothing else
    // holds it.
    let start = gradient.layout().start_offset();
    let in_place = norm.with_x || norm.options.gelu;
    let partial: Vec<Vec<f32>> = if in_place {
        let gradient = &mut gradient.storage_mut::<f32>()[start..start + x.len()];
        let work = par_split(&sequence_chunks, [(gradient, channels)]);
        let sums = work.map(|(chunk, [gradient])| {
            let (mean, inverse) = expand(statistics, chunk.start / frames, groups, channels);
            let x = &x[chunk.start * channels..chunk.end * channels];
            if norm.options.gelu {
                through_gelu(x, &mean, &inverse, weight, bias, gradient);
            }
            sums(x, &mean, &inverse, gradient)
        });
        sums.collect()
    } else {
        let gradient = values::<f32>(&gradient);
        let sums = sequence_chunks.par_iter().map(|chunk| {
            let (mean, inverse) = expand(statistics, chunk.start / frames, groups, channels);
            let range = chunk.start * channels..chunk.end * channels;
            sums(&x[range.clone()], &mean, &inverse, &gradient[range])
        });
        sums.collect()
    };
    // For every sequence and channel: the gradient times the normalised x, and the gradient.
    let mut totals = zeros(batch * 2 * channels);
    for (chunk, partial) in sequence_chunks.iter().zip(&partial) {
        let totals = &mut totals[chunk.start / frames * 2 * channels..][..2 * channels];
        totals.iter_mut().zip(partial).for_each(|(total, partial)| *total += partial);
    }
    let mut both = vec![0.0; 2 * channels];
    for totals in totals.chunks_exact(2 * channels) {
        both.iter_mut().zip(totals).for_each(|(both, total)| *both += total);
    }
    let of_bias = both.split_off(channels);
    let mut outputs = vec![tensor(both, [channels]), tensor(of_bias, [channels])];
    if norm.with_x {
        let of_x = &mut gradient.storage_mut::<f32>()[start..start + x.len()];
        par_split(&sequence_chunks, [(of_x, channels)]).for_each(|(chunk, [of_x])| {
            let sequence = chunk.start / frames;
            let (mean, inverse) = expand(statistics, sequence, groups, channels);
            let totals = &totals[sequence * 2 * channels..][..2 * channels];
            let (along, level) = totals.split_at(channels);
            let [along, level] =
                [along, level].map(|sums| group_means(sums, weight, groups, frames));
            let x = &x[chunk.start * channels..chunk.end * channels];
            finish(x, &mean, &inverse, weight, &along, &level, of_x);
        });
        outputs.push(gradient);
    }
    outputs
}

/// The mean of `weight * sums` over a group, for each of its channels.
fn group_means(sums: &[f32], weight: &[f32], groups: usize, frames: usize) -> Vec<f32> {
    let width = sums.len() / groups;
    let pairs = sums.chunks_exact(width).zip(weight.chunks_exact(width));
    let means = pairs.map(|(sums, weight)| {
        let total: f32 = sums.iter().zip(weight).map(|(sum, weight)| sum * weight).sum();
        total / (width * frames) as f32
    });
    means.flat_map(|mean| std::iter::repeat_n(mean, width)).collect()
}

simd! {
    /// The gradient before GELU.
    fn through_gelu(
        x: &[f32],
        mean: &[f32],
        inverse: &[f32],
        weight: &[f32],
        bias: &[f32],
        gradient: &mut [f32],
    ) {
        let channels = mean.len();
        let (inverse, weight, bias) =
            (&inverse[..channels], &weight[..channels], &bias[..channels]);
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let normal = (x[channel] - mean[channel]) * inverse[channel];
                gradient[channel] *= Activation::Gelu.derivative(normal * weight[channel] + bias[channel]);
            }
        }
    }
}

/// For every channel: the sum of the gradient times the normalised x, and that of the gradient.
fn sums(x: &[f32], mean: &[f32], inverse: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; 2 * mean.len()];
    add_sums(x, mean, inverse, gradient, &mut sums);
    sums
}

simd! {
    fn add_sums(x: &[f32], mean: &[f32], inverse: &[f32], gradient: &[f32], sums: &mut [f32]) {
        let channels = mean.len();
        let inverse = &inverse[..channels];
        let (along, level) = sums.split_at_mut(channels);
        let level = &mut level[..channels];
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            for channel in 0..channels {
                let normal = (x[channel] - mean[channel]) * inverse[channel];
                along[channel] += gradient[channel] * normal;
                level[channel] += gradient[channel];
            }
        }
    }
}

simd! {
    /// The gradient of x, from that of the output before GELU.
    fn finish(
        x: &[f32],
        mean: &[f32],
        inverse: &[f32],
        weight: &[f32],
        along: &[f32],
        level: &[f32],
        of_x: &mut [f32],
    ) {
        let channels = mean.len();
        let (inverse, weight) = (&inverse[..channels], &weight[..channels]);
        let (along, level) = (&along[..channels], &level[..channels]);
        for (x, of_x) in x.chunks_exact(channels).zip(of_x.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let normal = (x[channel] - mean[channel]) * inverse[channel];
                let scaled = of_x[channel] * weight[channel];
                of_x[channel] =
                    (scaled - level[channel] - normal * along[channel]) * inverse[channel];
            }
        }
    }
}
