//! What happens to a tile of scores between the products.

use super::super::shape::AttentionDropout;
use crate::{
    cpu::{
        math::exp,
        simd::{LANES, max, simd, sum},
    },
    random,
};

/// Rows of a tile of scores, at most: a multiple of the rows that a product keeps in registers.
pub(super) const QUERY_BLOCK: usize = 72;
/// Columns of a tile of scores, at most.
pub(super) const KEY_BLOCK: usize = 256;
/// Below this many multiplications a task is not worth a thread.
pub(super) const GRAIN: usize = 256 * 1024;

/// Some queries against some keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a> {
    /// The keys between which each query attends, of all keys.
    pub(super) ranges: &'a [[usize; 2]],
    /// Keys in them that it does not attend to; may be empty.
    pub(super) gaps: &'a [[usize; 2]],
    pub(super) first_key: usize,
    pub(super) keys: usize,
    /// Values of a row of scores: the keys and what fills the last vector.
    pub(super) stride: usize,
    /// Where the first query is among the keys.
    pub(super) position: isize,
    /// From the first query on, `bias_stride` values a query, one for each of all keys; may be
    /// empty, as may the next.
    pub(super) bias: &'a [f32],
    pub(super) bias_stride: usize,
    /// For all keys.
    pub(super) penalties: &'a [f32],
    /// Zero without.
    pub(super) slope: f32,
    pub(super) dropout: Option<AttentionDropout>,
    /// The number of the first query among all batches, heads and queries.
    pub(super) first_row: u32,
}

impl Tile<'_> {
    /// The columns between which a query attends.
    #[inline(always)]
    pub(super) fn columns(&self, row: usize) -> (usize, usize) {
        self.inside(self.ranges[row])
    }

    /// Keys as columns.
    #[inline(always)]
    fn inside(&self, keys: [usize; 2]) -> (usize, usize) {
        let [start, end] = keys.map(|key| key.saturating_sub(self.first_key).min(self.keys));
        (start, end.max(start))
    }

    /// Adds to the scores of a row, from `column` on, what there is to add.
    #[inline(always)]
    fn add_biases(&self, row: usize, column: usize, scores: &mut [f32]) {
        let first = self.first_key + column;
        if !self.bias.is_empty() {
            let bias = &self.bias[row * self.bias_stride + first..];
            for (score, bias) in scores.iter_mut().zip(bias) {
                *score += bias;
            }
        }
        if self.slope != 0.0 {
            let distance = (first as isize - self.position - row as isize) as i32;
            for (index, score) in scores.iter_mut().enumerate() {
                *score -= self.slope * (distance.wrapping_add(index as i32) as f32).abs();
            }
        }
        if !self.penalties.is_empty() {
            for (score, penalty) in scores.iter_mut().zip(&self.penalties[first..]) {
                *score += penalty;
            }
        }
        if let Some(&gap) = self.gaps.get(row) {
            let (start, end) = self.inside(gap);
            if start < end {
                scores[start - column..end - column].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// What dropout multiplies a weight by.
    #[inline(always)]
    fn kept(dropout: AttentionDropout, key: [u32; 2], column: u32) -> f32 {
        let kept = random::bits_of(key, column) >= dropout.threshold();
        if kept { dropout.scale() as f32 } else { 0.0 }
    }
}

simd! {
    /// Makes weights of scores, relative to the largest score of each row so far; what was summed
    /// before, of weights and of values, is brought to the same scale.
    pub(super) fn online_softmax(
        tile: &Tile<'_>,
        scores: &mut [f32],
        largest: &mut [f32],
        sums: &mut [f32],
        values: &mut [f32],
    ) {
        let width = values.len() / largest.len().max(1);
        let rows = scores.chunks_exact_mut(tile.stride).enumerate();
        for ((row, scores), (largest, total)) in rows.zip(largest.iter_mut().zip(sums.iter_mut())) {
            let (start, end) = tile.columns(row);
            scores[..start].fill(0.0);
            scores[end..].fill(0.0);
            let seen = &mut scores[start..end];
            tile.add_biases(row, start, seen);
            let before = *largest;
            let now = before.max(max(seen));
            if now == f32::NEG_INFINITY {
                // All masked so far.
                seen.fill(0.0);
                continue;
            }
            let sum = exp_sum(seen, now);
            if before != now {
                let shrink = exp(before - now);
                *total *= shrink;
                for value in &mut values[row * width..(row + 1) * width] {
                    *value *= shrink;
                }
            }
            *largest = now;
            *total += sum;
            if let Some(dropout) = tile.dropout {
                let key = random::row_keys(dropout.seed, tile.first_row.wrapping_add(row as u32));
                let first = (tile.first_key + start) as u32;
                for (index, weight) in seen.iter_mut().enumerate() {
                    *weight *= Tile::kept(dropout, key, first.wrapping_add(index as u32));
                }
            }
        }
    }
}

simd! {
    /// From scores and the gradients of the dropped-out weights: those weights, and the gradients
    /// of the scores, in their places.
    pub(super) fn differentiate(
        tile: &Tile<'_>,
        scores: &mut [f32],
        gradients: &mut [f32],
        logsumexp: &[f32],
        delta: &[f32],
    ) {
        let rows = scores.chunks_exact_mut(tile.stride).zip(gradients.chunks_exact_mut(tile.stride));
        let rows = rows.zip(logsumexp.iter().zip(delta)).enumerate();
        for (row, ((scores, gradients), (&logsumexp, &delta))) in rows {
            let (start, end) = tile.columns(row);
            for values in [&mut *scores, &mut *gradients] {
                values[..start].fill(0.0);
                values[end..].fill(0.0);
            }
            let (seen, gradients) = (&mut scores[start..end], &mut gradients[start..end]);
            tile.add_biases(row, start, seen);
            if let Some(dropout) = tile.dropout {
                let key = random::row_keys(dropout.seed, tile.first_row.wrapping_add(row as u32));
                let first = (tile.first_key + start) as u32;
                for (index, (score, gradient)) in seen.iter_mut().zip(gradients).enumerate() {
                    let weight = exp(*score - logsumexp);
                    let kept = Tile::kept(dropout, key, first.wrapping_add(index as u32));
                    *score = weight * kept;
                    *gradient = weight * (*gradient * kept - delta);
                }
            } else {
                for (score, gradient) in seen.iter_mut().zip(gradients) {
                    let weight = exp(*score - logsumexp);
                    *score = weight;
                    *gradient = weight * (*gradient - delta);
                }
            }
        }
    }
}

simd! {
    /// The sum of the products of two rows.
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        crate::cpu::simd::sum2(a, b, |a, b| a * b)
    }
}

/// Replaces scores by their exponentials relative to `largest`, and sums them.
#[inline(always)]
fn exp_sum(scores: &mut [f32], largest: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = scores.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - largest);
            lanes[lane] += chunk[lane];
        }
    }
    let mut rest = 0.0;
    for score in chunks.into_remainder() {
        *score = exp(*score - largest);
        rest += *score;
    }
    sum(&lanes, |lane| lane) + rest
}
