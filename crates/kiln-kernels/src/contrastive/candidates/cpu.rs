//! On the CPU: rows divided among threads; each row's candidates are read once from memory and
//! then from cache.

use super::CandidatesBackward;
use crate::{
    Tensors,
    cpu::{
        Running, contiguous,
        math::exp,
        parts,
        simd::{simd, sum2},
        split_rows, tensor, values, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// The sizes of candidates.
fn sizes(candidates: &FlexTensor) -> [usize; 3] {
    let shape = candidates.layout().shape();
    [shape[0], shape[1], shape[2]]
}

pub(super) fn forward(inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [queries, candidates, scale] = inputs.take().map(contiguous);
    let [rows, count, width] = sizes(&candidates);
    let (queries, candidates) = (values::<f32>(&queries), values::<f32>(&candidates));
    let scale = values::<f32>(&scale)[0];
    let mut losses = zeros(rows);
    let parts = parts(rows, count * width);
    let work: Vec<_> = parts.iter().zip(split_rows(&mut losses, 1, &parts)).collect();
    work.into_par_iter().for_each(|(part, losses)| {
        let mut similarity = zeros(count);
        for (row, loss) in part.clone().zip(losses) {
            let query = &queries[row * width..(row + 1) * width];
            let candidates = &candidates[row * count * width..(row + 1) * count * width];
            *loss = loss_of(query, candidates, scale, &mut similarity);
        }
    });
    vec![tensor(losses, [rows])]
}

/// The scaled products of a query and its candidates.
#[inline(always)]
fn compare(query: &[f32], candidates: &[f32], scale: f32, similarity: &mut [f32]) {
    if query.is_empty() {
        return;
    }
    for (x, candidate) in similarity.iter_mut().zip(candidates.chunks_exact(query.len())) {
        *x = scale * sum2(query, candidate, |a, b| a * b);
    }
}

simd! {
    fn loss_of(query: &[f32], candidates: &[f32], scale: f32, similarity: &mut [f32]) -> f32 {
        compare(query, candidates, scale, similarity);
        let mut running = Running::NONE;
        running.add(similarity, false);
        running.log_sum_exp() - similarity[0]
    }
}

pub(super) fn backward(kernel: &CandidatesBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [queries, candidates, scale, gradient] = inputs.take().map(contiguous);
    let [rows, count, width] = sizes(&candidates);
    let (queries, candidates) = (values::<f32>(&queries), values::<f32>(&candidates));
    let (scale, gradient) = (values::<f32>(&scale)[0], values::<f32>(&gradient));
    let [for_queries, for_candidates, _] = kernel.needed;
    // A gradient that nobody needs has rows of no values.
    let query_width = if for_queries { width } else { 0 };
    let candidates_width = if for_candidates { count * width } else { 0 };
    let (mut queries_out, mut candidates_out) =
        (zeros(rows * query_width), zeros(rows * candidates_width));
    let parts = parts(rows, count * width);
    let work: Vec<_> = parts
        .iter()
        .zip(split_rows(&mut queries_out, query_width, &parts))
        .zip(split_rows(&mut candidates_out, candidates_width, &parts))
        .collect();
    let sums: Vec<f64> = work
        .into_par_iter()
        .map(|((part, queries_out), candidates_out)| {
            let (mut weights, mut products) = (zeros(count), zeros(count));
            let mut total = 0.0;
            for (index, row) in part.clone().enumerate() {
                let query = &queries[row * width..(row + 1) * width];
                let candidates = &candidates[row * count * width..(row + 1) * count * width];
                compare_rows(query, candidates, &mut products);
                total += f64::from(weigh(&products, scale, gradient[row], &mut weights));
                let queries_out = &mut queries_out[index * query_width..][..query_width];
                let out = &mut candidates_out[index * candidates_width..][..candidates_width];
                spread(query, candidates, &weights, queries_out, out);
            }
            total
        })
        .collect();
    let scale_out = vec![sums.iter().sum::<f64>() as f32];
    let shapes = [vec![rows, width], vec![rows, count, width], vec![1]];
    let all =
        [queries_out, candidates_out, scale_out.into()].into_iter().zip(shapes).zip(kernel.needed);
    let needed = all.filter(|(_, needed)| *needed);
    needed.map(|((values, shape), _)| tensor(values, shape)).collect()
}

simd! {
    fn compare_rows(query: &[f32], candidates: &[f32], products: &mut [f32]) {
        compare(query, candidates, 1.0, products);
    }
}

simd! {
    /// The weights of candidates in the query's gradient; the gradient of the scale.
    fn weigh(products: &[f32], scale: f32, gradient: f32, weights: &mut [f32]) -> f32 {
        for (weight, product) in weights.iter_mut().zip(products) {
            *weight = scale * product;
        }
        let mut running = Running::NONE;
        running.add(weights, false);
        let level = running.log_sum_exp();
        for weight in weights.iter_mut() {
            *weight = gradient * exp(*weight - level);
        }
        weights[0] -= gradient;
        let along = sum2(weights, products, |weight, product| weight * product);
        for weight in weights.iter_mut() {
            *weight *= scale;
        }
        along
    }
}

simd! {
    /// The gradients of a query and of its candidates, those for which there is room.
    fn spread(
        query: &[f32],
        candidates: &[f32],
        weights: &[f32],
        query_out: &mut [f32],
        candidates_out: &mut [f32],
    ) {
        if query.is_empty() {
            return;
        }
        if !query_out.is_empty() {
            for (weight, candidate) in weights.iter().zip(candidates.chunks_exact(query.len())) {
                for (out, x) in query_out.iter_mut().zip(candidate) {
                    *out += weight * x;
                }
            }
        }
        for (weight, out) in weights.iter().zip(candidates_out.chunks_exact_mut(query.len())) {
            for (out, x) in out.iter_mut().zip(query) {
                *out = weight * x;
            }
        }
    }
}
