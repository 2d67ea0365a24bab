//! On the CPU: a block of rows times a block of columns at a time, each product by all threads,
//! then its rows (and, for their log-sum-exp, its columns) divided among them while it is in cache.

use super::{PairLoss, Pairs, PairsBackward};
use crate::{
    Tensors,
    cpu::{
        OnlineLogSumExp, chunks, contiguous,
        math::{exp, ln, sigmoid},
        matmul::{Threads, matmul},
        matrix,
        matrix::{Matrix, MatrixMut},
        par_rows,
        simd::{simd, sum, sum2},
        split_rows, tensor, values, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

/// Rows a block.
const ROWS: usize = 512;
/// Columns a block.
const COLUMNS: usize = 2048;
/// Columns whose sums are kept at hand while a block's rows pass by.
const STRIP: usize = 128;

fn blocks(count: usize, each: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(each).map(move |start| start..(start + each).min(count))
}

/// Some rows of a matrix.
fn of_rows<'a>(values: &'a [f32], rows: &Range<usize>, width: usize) -> Matrix<'a> {
    Matrix::new(&values[rows.start * width..rows.end * width], rows.len(), width)
}

pub(super) fn forward(&Pairs { loss }: &Pairs, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let (a, b) = (values::<f32>(&floats[0]), values::<f32>(&floats[1]));
    let (pairs, width) = matrix(&floats[0]);
    let scale = values::<f32>(&floats[2])[0];
    let bias = floats.get(3).map_or(0.0, |bias| values::<f32>(bias)[0]);
    let mut losses = zeros(pairs);
    let mut log_sum_exps = zeros(2 * pairs);
    let (row_log_sum_exps, column_log_sum_exps) = log_sum_exps.split_at_mut(pairs);
    let mut columns_so_far = vec![(f32::NEG_INFINITY, 0.0); pairs];
    let mut block = zeros(pairs.min(ROWS) * pairs.min(COLUMNS));
    for rows in blocks(pairs, ROWS) {
        let mut running = vec![OnlineLogSumExp::NONE; rows.len()];
        for columns in blocks(pairs, COLUMNS) {
            let block = &mut block[..rows.len() * columns.len()];
            let out = MatrixMut::new(block, rows.len(), columns.len());
            let b = of_rows(b, &columns, width).transposed();
            matmul(out, 0.0, of_rows(a, &rows, width), b, scale, Threads::All);
            let row_chunks = chunks(rows.len(), columns.len());
            let work = row_chunks.par_iter().zip(split_rows(block, columns.len(), &row_chunks));
            let work = work.zip(split_rows(&mut running, 1, &row_chunks));
            let work = work.zip(split_rows(&mut losses[rows.clone()], 1, &row_chunks));
            work.for_each(|(((chunk, block), running), losses)| {
                let first = rows.start + chunk.start;
                match loss {
                    PairLoss::Softmax => softmax_rows(block, first, &columns, running, losses),
                    PairLoss::Sigmoid => sigmoid_rows(block, first, &columns, bias, losses),
                }
            });
            if loss == PairLoss::Softmax {
                let column_chunks = chunks(columns.len(), rows.len());
                let so_far = &mut columns_so_far[columns.clone()];
                let work = column_chunks.par_iter().zip(split_rows(so_far, 1, &column_chunks));
                work.for_each(|(chunk, so_far)| {
                    add_columns(block, columns.len(), chunk.start, so_far);
                });
            }
        }
        for (log_sum_exp, running) in row_log_sum_exps[rows].iter_mut().zip(running) {
            *log_sum_exp = running.log_sum_exp();
        }
    }
    let losses_out = |losses| tensor(losses, [pairs]);
    if loss == PairLoss::Sigmoid {
        return vec![losses_out(losses)];
    }
    for (log_sum_exp, (max, scaled)) in column_log_sum_exps.iter_mut().zip(columns_so_far) {
        *log_sum_exp = max + ln(scaled);
    }
    for ((loss, row), column) in losses.iter_mut().zip(row_log_sum_exps).zip(column_log_sum_exps) {
        *loss += 0.5 * (*row + *column);
    }
    vec![losses_out(losses), tensor(log_sum_exps, [2, pairs])]
}

simd! {
    /// Adds a block to its rows' log-sum-exp; losses are what a pair's own similarity takes off.
    fn softmax_rows(
        block: &[f32],
        first: usize,
        columns: &Range<usize>,
        running: &mut [OnlineLogSumExp],
        losses: &mut [f32],
    ) {
        let rows = block.chunks_exact(columns.len()).zip(running).zip(losses);
        for (index, ((row, running), loss)) in rows.enumerate() {
            running.add(row, false);
            if columns.contains(&(first + index)) {
                *loss = -row[first + index - columns.start];
            }
        }
    }
}

simd! {
    /// Adds a block to its rows' losses.
    fn sigmoid_rows(
        block: &mut [f32],
        first: usize,
        columns: &Range<usize>,
        bias: f32,
        losses: &mut [f32],
    ) {
        let rows = block.chunks_exact_mut(columns.len()).zip(losses);
        for (index, (row, loss)) in rows.enumerate() {
            if columns.contains(&(first + index)) {
                // The bias comes on top below: -(x + bias) = (-x - 2 bias) + bias.
                let own = &mut row[first + index - columns.start];
                *own = -*own - 2.0 * bias;
            }
            *loss += sum(row, |x| softplus(x + bias));
        }
    }
}

/// `ln(1 + e^x)`.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    let e = exp(-x.abs());
    // ln(1 + e) = 2 artanh(e / (2 + e)), a series that keeps its digits where e is small.
    let s = e / (2.0 + e);
    let z = s * s;
    let mut p = 2.0 / 15.0;
    p = p * z + 2.0 / 13.0;
    p = p * z + 2.0 / 11.0;
    p = p * z + 2.0 / 9.0;
    p = p * z + 2.0 / 7.0;
    p = p * z + 2.0 / 5.0;
    p = p * z + 2.0 / 3.0;
    let above = if x > 0.0 { x } else { 0.0 };
    above + s * (p * z + 2.0)
}

simd! {
    /// Adds a block to its columns' greatest values and sums of exponentials, from column `first`.
    fn add_columns(block: &[f32], width: usize, first: usize, so_far: &mut [(f32, f32)]) {
        for (strip, so_far) in so_far.chunks_mut(STRIP).enumerate() {
            let start = first + strip * STRIP;
            let mut highest = [f32::NEG_INFINITY; STRIP];
            let mut scaled = [0.0f32; STRIP];
            let highest = &mut highest[..so_far.len()];
            let scaled = &mut scaled[..so_far.len()];
            for (highest, (max, _)) in highest.iter_mut().zip(so_far.iter()) {
                *highest = *max;
            }
            for row in block.chunks_exact(width) {
                for (highest, x) in highest.iter_mut().zip(&row[start..]) {
                    *highest = if x > highest { *x } else { *highest };
                }
            }
            for row in block.chunks_exact(width) {
                let row = &row[start..start + scaled.len()];
                for ((scaled, highest), x) in scaled.iter_mut().zip(highest.iter()).zip(row) {
                    *scaled += exp(x - highest);
                }
            }
            for ((so_far, highest), scaled) in so_far.iter_mut().zip(highest).zip(scaled) {
                so_far.1 = so_far.1 * exp(so_far.0 - *highest) + *scaled;
                so_far.0 = *highest;
            }
        }
    }
}

pub(super) fn backward(kernel: &PairsBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [a, b, scale, other, gradient] = inputs.take().map(contiguous);
    let (pairs, width) = matrix(&a);
    let scale = values::<f32>(&scale)[0];
    let terms = Terms {
        loss: kernel.loss,
        scale,
        // The bias, or the log-sum-exp of rows and of columns.
        other: values(&other),
        gradient: values(&gradient),
    };
    let (a, b) = (values::<f32>(&a), values::<f32>(&b));
    let [for_a, for_b, ..] = kernel.needed;
    let mut a_out = zeros(if for_a { pairs * width } else { 0 });
    let mut b_out = zeros(if for_b { pairs * width } else { 0 });
    let mut sums = [0.0f64; 2];
    let mut block = zeros(pairs.min(ROWS) * pairs.min(COLUMNS));
    for rows in blocks(pairs, ROWS) {
        for columns in blocks(pairs, COLUMNS) {
            let block = &mut block[..rows.len() * columns.len()];
            let out = MatrixMut::new(block, rows.len(), columns.len());
            let (a, b) = (of_rows(a, &rows, width), of_rows(b, &columns, width));
            matmul(out, 0.0, a, b.transposed(), 1.0, Threads::All);
            let partial: Vec<[f64; 2]> = par_rows(block, rows.len(), columns.len())
                .map(|(chunk, block)| {
                    gradient_rows(block, rows.start + chunk.start, &columns, &terms)
                })
                .collect();
            for partial in partial {
                sums[0] += partial[0];
                sums[1] += partial[1];
            }
            let each = Matrix::new(block, rows.len(), columns.len());
            let keep = |first: usize| if first == 0 { 0.0 } else { 1.0 };
            if for_a {
                let out = &mut a_out[rows.start * width..rows.end * width];
                let out = MatrixMut::new(out, rows.len(), width);
                matmul(out, keep(columns.start), each, b, scale, Threads::All);
            }
            if for_b {
                let out = &mut b_out[columns.start * width..columns.end * width];
                let out = MatrixMut::new(out, columns.len(), width);
                matmul(out, keep(rows.start), each.transposed(), a, scale, Threads::All);
            }
        }
    }
    let whole = |needed: bool, out| needed.then(|| tensor(out, [pairs, width]));
    let one = |sum: f64| Some(tensor(vec![sum as f32], [1]));
    kernel.choose([whole(for_a, a_out), whole(for_b, b_out), one(sums[0]), one(sums[1])])
}

/// What the gradients of similarities are made of.
struct Terms<'a> {
    loss: PairLoss,
    scale: f32,
    other: &'a [f32],
    gradient: &'a [f32],
}

simd! {
    /// Replaces a block of products by the gradients of its similarities; the gradients of scale
    /// and bias.
    fn gradient_rows(
        block: &mut [f32],
        first: usize,
        columns: &Range<usize>,
        terms: &Terms<'_>,
    ) -> [f64; 2] {
        let mut sums = [0.0f64; 2];
        let pairs = terms.gradient.len();
        let scale = terms.scale;
        for (index, row) in block.chunks_exact_mut(columns.len()).enumerate() {
            let weight = terms.gradient[first + index];
            let (mut along, mut total) = (0.0, 0.0);
            // The product is needed beside the gradient: a strip at a time stays in registers.
            for (strip, row) in row.chunks_mut(STRIP).enumerate() {
                let start = columns.start + strip * STRIP;
                let mut products = [0.0; STRIP];
                let products = &mut products[..row.len()];
                products.copy_from_slice(row);
                match terms.loss {
                    PairLoss::Softmax => {
                        let row_log_sum_exp = terms.other[first + index];
                        let log_sum_exps = &terms.other[pairs + start..][..row.len()];
                        let others = &terms.gradient[start..][..row.len()];
                        for ((x, log_sum_exp), other) in row.iter_mut().zip(log_sum_exps).zip(others) {
                            let similarity = scale * *x;
                            *x = 0.5
                                * (weight * exp(similarity - row_log_sum_exp)
                                    + other * exp(similarity - log_sum_exp));
                        }
                    }
                    PairLoss::Sigmoid => {
                        let bias = terms.other[0];
                        for x in row.iter_mut() {
                            *x = weight * sigmoid(scale * *x + bias);
                        }
                    }
                }
                // The pair's own, before sums that it all but cancels.
                let own = (first + index).checked_sub(start).and_then(|own| row.get_mut(own));
                if let Some(own) = own {
                    *own -= weight;
                }
                along += sum2(row, products, |x, product| x * product);
                total += sum(row, |x| x);
            }
            sums[0] += f64::from(along);
            sums[1] += f64::from(total);
        }
        sums
    }
}
