//! On the CPU: rows divided among threads; each row is read once from memory and then from cache.

use super::{AddNorm, Norm, NormBackward};
use crate::{
    Tensors,
    cpu::{
        buffer, chunks, contiguous, matrix, par_rows, par_split,
        simd::{simd, sum, sum2},
        tensor, total, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn forward(norm: &Norm, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let (x, weight) = (values::<f32>(&floats[0]), values::<f32>(&floats[1]));
    let affine = Affine { weight, bias: floats.get(2).map_or(&[][..], values::<f32>) };
    let (rows, width) = matrix(&floats[0]);
    let mut out = buffer(x.len());
    let mut statistics = buffer(rows * 2);
    let chunks = chunks(rows, width);
    let work = par_split(&chunks, [(&mut out, width), (&mut statistics, 2)]);
    work.for_each(|(chunk, [out, statistics])| {
        affine.normalise(norm, &x[chunk.start * width..chunk.end * width], out, statistics);
    });
    let shape = floats[0].layout().shape().clone();
    vec![tensor(out, shape), tensor(statistics, [rows, 2])]
}

pub(super) fn forward_add(AddNorm { norm }: &AddNorm, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let [x, residual, weight] = [0, 1, 2].map(|index| values::<f32>(&floats[index]));
    let affine = Affine { weight, bias: floats.get(3).map_or(&[][..], values::<f32>) };
    let (rows, width) = matrix(&floats[0]);
    let mut sum = buffer(x.len());
    let mut out = buffer(x.len());
    let mut statistics = buffer(rows * 2);
    let chunks = chunks(rows, width);
    let matrices = [(&mut sum[..], width), (&mut out[..], width), (&mut statistics[..], 2)];
    par_split(&chunks, matrices).for_each(|(chunk, [sum, out, statistics])| {
        let range = chunk.start * width..chunk.end * width;
        let terms = x[range.clone()].chunks_exact(width).zip(residual[range].chunks_exact(width));
        let results = out.chunks_exact_mut(width).zip(statistics.chunks_exact_mut(2));
        // A row of the sum is normalised while it is in the nearest cache.
        for (((x, residual), sum), (out, statistics)) in
            terms.zip(sum.chunks_exact_mut(width)).zip(results)
        {
            add(x, residual, sum);
            affine.normalise(norm, sum, out, statistics);
        }
    });
    let shape = floats[0].layout().shape();
    vec![tensor(sum, shape.clone()), tensor(out, shape.clone()), tensor(statistics, [rows, 2])]
}

/// What follows the standardisation; the bias is empty where there is none.
struct Affine<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Affine<'_> {
    /// Rows of x to `out`, and two numbers each to `statistics`.
    fn normalise(&self, norm: &Norm, x: &[f32], out: &mut [f32], statistics: &mut [f32]) {
        let epsilon = norm.epsilon as f32;
        if norm.centred {
            forward_rows::<true>(x, self.weight, self.bias, epsilon, out, statistics);
        } else {
            forward_rows::<false>(x, self.weight, self.bias, epsilon, out, statistics);
        }
    }
}

simd! {
    fn add(x: &[f32], residual: &[f32], sum: &mut [f32]) {
        for ((sum, x), residual) in sum.iter_mut().zip(x).zip(residual) {
            *sum = x + residual;
        }
    }
}

simd! {
    fn forward_rows<const CENTRED: bool>(
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        epsilon: f32,
        out: &mut [f32],
        statistics: &mut [f32],
    ) {
        let width = weight.len();
        let share = 1.0 / width as f32;
        let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for ((x, out), statistics) in rows.zip(statistics.chunks_exact_mut(2)) {
            let mean = if CENTRED { sum(x, |x| x) * share } else { 0.0 };
            let variance = sum(x, |x| (x - mean) * (x - mean)) * share;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            if bias.is_empty() {
                for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = (x - mean) * inverse * weight;
                }
            } else {
                for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                    *out = (x - mean) * inverse * weight + bias;
                }
            }
            statistics[0] = mean;
            statistics[1] = inverse;
        }
    }
}

pub(super) fn backward(norm: &NormBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, weight, statistics, gradient] = inputs.take().map(contiguous);
    let (rows, width) = matrix(&x);
    let mut x_gradient = buffer(rows * width);
    // Weight and bias gradients: a partial sum a part, added in the order of the parts.
    let partial: Vec<Vec<f32>> = par_rows(&mut x_gradient, rows, width)
        .map(|(chunk, x_gradient)| {
            let range = chunk.start * width..chunk.end * width;
            let x = &values::<f32>(&x)[range.clone()];
            let gradient = &values::<f32>(&gradient)[range];
            let statistics = &values::<f32>(&statistics)[chunk.start * 2..chunk.end * 2];
            let weight = values::<f32>(&weight);
            let mut sums = vec![0.0; 2 * width];
            if norm.centred {
                backward_rows::<true>(x, weight, statistics, gradient, x_gradient, &mut sums);
            } else {
                backward_rows::<false>(x, weight, statistics, gradient, x_gradient, &mut sums);
            }
            sums
        })
        .collect();
    let mut sums = total(partial);
    let bias_gradient = sums.split_off(width);
    let shape = x.layout().shape().clone();
    vec![tensor(x_gradient, shape), tensor(sums, [width]), tensor(bias_gradient, [width])]
}

simd! {
    fn backward_rows<const CENTRED: bool>(
        x: &[f32],
        weight: &[f32],
        statistics: &[f32],
        gradient: &[f32],
        x_gradient: &mut [f32],
        sums: &mut [f32],
    ) {
        let width = weight.len();
        let share = 1.0 / width as f32;
        let (weight_sums, bias_sums) = sums.split_at_mut(width);
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        let rows = rows.zip(x_gradient.chunks_exact_mut(width)).zip(statistics.chunks_exact(2));
        for (((x, gradient), out), statistics) in rows {
            let (mean, inverse) = (statistics[0], statistics[1]);
            // `out` holds the normalised x until it is written.
            for (out, x) in out.iter_mut().zip(x) {
                *out = (x - mean) * inverse;
            }
            let sums = weight_sums.iter_mut().zip(bias_sums.iter_mut());
            for ((sums, out), gradient) in sums.zip(out.iter()).zip(gradient) {
                *sums.0 += gradient * out;
                *sums.1 += gradient;
            }
            let mut along = 0.0;
            let mut level = 0.0;
            // Two sums over three rows: the scaled gradient is taken apart to stay in registers.
            for start in (0..width).step_by(ROW_BLOCK) {
                let end = (start + ROW_BLOCK).min(width);
                let mut scaled = [0.0; ROW_BLOCK];
                let scaled = &mut scaled[..end - start];
                let terms = gradient[start..end].iter().zip(&weight[start..end]);
                for (scaled, (gradient, weight)) in scaled.iter_mut().zip(terms) {
                    *scaled = gradient * weight;
                }
                along += sum2(scaled, &out[start..end], |scaled, normal| scaled * normal);
                if CENTRED {
                    level += sum(scaled, |scaled| scaled);
                }
            }
            let (along, level) = (along * share, level * share);
            for ((out, gradient), weight) in out.iter_mut().zip(gradient).zip(weight) {
                *out = (gradient * weight - level - *out * along) * inverse;
            }
        }
    }
}

/// How much of a row is scaled at a time in the backward step.
const ROW_BLOCK: usize = 256;
