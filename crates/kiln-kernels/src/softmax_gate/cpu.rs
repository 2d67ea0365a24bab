//! On the CPU: an item at a time; along tokens, all features of an item side by side.

use super::{SoftmaxGate, SoftmaxGateBackward};
use crate::{
    Tensors,
    cpu::{
        buffer, chunks, contiguous,
        math::exp,
        par_rows, par_split,
        simd::{max, simd, sum},
        tensor, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// What lies along the softmax of one piece of work: `count` places, each of `side` independent
/// columns.
#[derive(Debug, Clone, Copy)]
struct Piece {
    count: usize,
    side: usize,
}

/// Pieces of the tensor, and how many.
fn pieces(x: &FlexTensor, tokens: bool) -> (Piece, usize) {
    let [batch, count, width] = x.layout().shape().dims();
    if tokens {
        (Piece { count, side: width }, batch)
    } else {
        (Piece { count: width, side: 1 }, batch * count)
    }
}

pub(super) fn forward(
    &SoftmaxGate { tokens }: &SoftmaxGate,
    inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let [x, scores] = inputs.take().map(contiguous);
    let (piece, count) = pieces(&x, tokens);
    let size = piece.count * piece.side;
    let mut out = buffer(count * size);
    par_rows(&mut out, count, size).for_each(|(chunk, out)| {
        let range = chunk.start * size..chunk.end * size;
        forward_pieces(
            piece,
            &values::<f32>(&x)[range.clone()],
            &values::<f32>(&scores)[range],
            out,
        );
    });
    vec![tensor(out, x.layout().shape().clone())]
}

simd! {
    fn forward_pieces(piece: Piece, x: &[f32], scores: &[f32], out: &mut [f32]) {
        let size = (piece.count * piece.side).max(1);
        let mut level = vec![0.0; 2 * piece.side];
        let pieces = x.chunks_exact(size).zip(scores.chunks_exact(size));
        for ((x, scores), out) in pieces.zip(out.chunks_exact_mut(size)) {
            softmax(piece, scores, out, &mut level);
            for (out, x) in out.iter_mut().zip(x) {
                *out *= x;
            }
        }
    }
}

pub(super) fn backward(
    &SoftmaxGateBackward { tokens }: &SoftmaxGateBackward,
    inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let [x, scores, gradient] = inputs.take().map(contiguous);
    let (piece, count) = pieces(&x, tokens);
    let size = piece.count * piece.side;
    let (mut x_gradient, mut score_gradient) = (buffer(count * size), buffer(count * size));
    let chunks = chunks(count, size);
    let work = par_split(&chunks, [(&mut x_gradient, size), (&mut score_gradient, size)]);
    work.for_each(|(chunk, [x_gradient, score_gradient])| {
        let range = chunk.start * size..chunk.end * size;
        let of = |tensor| &values::<f32>(tensor)[range.clone()];
        let (x, scores, gradient) = (of(&x), of(&scores), of(&gradient));
        backward_pieces(piece, x, scores, gradient, x_gradient, score_gradient);
    });
    let shape = x.layout().shape();
    vec![tensor(x_gradient, shape.clone()), tensor(score_gradient, shape.clone())]
}

simd! {
    fn backward_pieces(
        piece: Piece,
        x: &[f32],
        scores: &[f32],
        gradient: &[f32],
        x_gradient: &mut [f32],
        score_gradient: &mut [f32],
    ) {
        let size = (piece.count * piece.side).max(1);
        let mut level = vec![0.0; 2 * piece.side];
        let inputs = x.chunks_exact(size).zip(scores.chunks_exact(size));
        let outputs = x_gradient.chunks_exact_mut(size).zip(score_gradient.chunks_exact_mut(size));
        let pieces = inputs.zip(gradient.chunks_exact(size)).zip(outputs);
        for (((x, scores), gradient), (x_gradient, weights)) in pieces {
            softmax(piece, scores, weights, &mut level);
            // d x = g w; what the softmax passes back is w (g x - Σ g x w).
            for (to, (gradient, weight)) in x_gradient.iter_mut().zip(gradient.iter().zip(&*weights)) {
                *to = gradient * weight;
            }
            if piece.side == 1 {
                let mean = sum_product(x_gradient, x);
                for (to, (gradient, x)) in weights.iter_mut().zip(gradient.iter().zip(x)) {
                    *to *= gradient * x - mean;
                }
            } else {
                let mean = &mut level[..piece.side];
                mean.fill(0.0);
                let rows = x_gradient.chunks_exact(piece.side).zip(x.chunks_exact(piece.side));
                for (x_gradient, x) in rows {
                    for (mean, (gradient, x)) in mean.iter_mut().zip(x_gradient.iter().zip(x)) {
                        *mean += gradient * x;
                    }
                }
                let rows = weights.chunks_exact_mut(piece.side).zip(gradient.chunks_exact(piece.side));
                for ((weights, gradient), x) in rows.zip(x.chunks_exact(piece.side)) {
                    let terms = gradient.iter().zip(x).zip(mean.iter());
                    for (to, ((gradient, x), mean)) in weights.iter_mut().zip(terms) {
                        *to *= gradient * x - mean;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn sum_product(a: &[f32], b: &[f32]) -> f32 {
    crate::cpu::simd::sum2(a, b, |a, b| a * b)
}

/// The softmax along the places of a piece; `level` has room for two values a column.
#[inline(always)]
fn softmax(piece: Piece, scores: &[f32], out: &mut [f32], level: &mut [f32]) {
    if piece.side == 1 {
        let greatest = max(scores);
        for (out, score) in out.iter_mut().zip(scores) {
            *out = exp(score - greatest);
        }
        let share = 1.0 / sum(out, |out| out);
        for out in out.iter_mut() {
            *out *= share;
        }
        return;
    }
    let (greatest, total) = level.split_at_mut(piece.side);
    greatest.fill(f32::NEG_INFINITY);
    total.fill(0.0);
    for scores in scores.chunks_exact(piece.side) {
        for (greatest, &score) in greatest.iter_mut().zip(scores) {
            *greatest = if score > *greatest { score } else { *greatest };
        }
    }
    for (out, scores) in out.chunks_exact_mut(piece.side).zip(scores.chunks_exact(piece.side)) {
        let columns = out.iter_mut().zip(scores).zip(greatest.iter().zip(total.iter_mut()));
        for ((out, score), (greatest, total)) in columns {
            *out = exp(score - greatest);
            *total += *out;
        }
    }
    for total in total.iter_mut() {
        *total = 1.0 / *total;
    }
    for out in out.chunks_exact_mut(piece.side) {
        for (out, share) in out.iter_mut().zip(&*total) {
            *out *= share;
        }
    }
}
