//! On the CPU: a block of rows times a block of classes at a time, each product by all threads, then
//! its rows divided among them while it is in cache. Blocks and their order depend on the sizes
//! alone.

use super::{
    super::cpu::{Weights, columns},
    Linear, LinearBackward,
};
use crate::{
    Tensors,
    cpu::{
        Buffer, OnlineLogSumExp, buffer, chunks, contiguous,
        matmul::{Threads, matmul},
        matrix,
        matrix::{Matrix, MatrixMut},
        par_rows,
        simd::simd,
        split_rows, tensor, updatable, values, values_mut, zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

/// Rows a block.
const ROWS: usize = 512;
/// Classes a block.
const CLASSES: usize = 2048;

/// An output layer as the products read it.
struct Layer<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    width: usize,
    classes: usize,
    transposed: bool,
}

impl Layer<'_> {
    /// The weights of some classes: `[width, block]`.
    fn block(&self, block: &Range<usize>) -> Matrix<'_> {
        if self.transposed {
            let rows = &self.weight[block.start * self.width..block.end * self.width];
            Matrix::new(rows, block.len(), self.width).transposed()
        } else {
            let columns = &self.weight[block.start..];
            Matrix::strided(columns, self.width, block.len(), self.classes)
        }
    }

    /// The biases of some classes; none where there are none.
    fn bias(&self, block: &Range<usize>) -> &[f32] {
        if self.bias.is_empty() { &[] } else { &self.bias[block.clone()] }
    }
}

/// The rows that count, a block at a time, as the products read them.
struct Block<'a> {
    /// Their numbers.
    rows: &'a [usize],
    /// Their hidden states, copied only where ignored rows lie between them.
    packed: Vec<f32>,
    hidden: &'a [f32],
    width: usize,
}

impl<'a> Block<'a> {
    fn of(rows: &'a [usize], hidden: &'a [f32], width: usize) -> Self {
        let mut packed = Vec::new();
        if Self::range(rows).is_none() {
            packed.reserve(rows.len() * width);
            for &row in rows {
                packed.extend_from_slice(&hidden[row * width..(row + 1) * width]);
            }
        }
        Self { rows, packed, hidden, width }
    }

    /// The rows as a range, where they are one.
    fn range(rows: &[usize]) -> Option<Range<usize>> {
        let (first, last) = (*rows.first()?, *rows.last()?);
        (last - first + 1 == rows.len()).then_some(first..last + 1)
    }

    fn hidden(&self) -> Matrix<'_> {
        let values = match Self::range(self.rows) {
            Some(range) => &self.hidden[range.start * self.width..range.end * self.width],
            None => &self.packed,
        };
        Matrix::new(values, self.rows.len(), self.width)
    }
}

fn class_blocks(classes: usize) -> impl Iterator<Item = Range<usize>> {
    (0..classes).step_by(CLASSES).map(move |start| start..(start + CLASSES).min(classes))
}

/// The rows with a target.
fn counted(targets: &[Option<usize>]) -> Vec<usize> {
    (0..targets.len()).filter(|&row| targets[row].is_some()).collect()
}

pub(super) fn forward(kernel: &Linear, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (shapes, ints) = inputs.shapes();
    let keeps = kernel.keeps(&shapes, &ints);
    let classes = kernel.classes(&shapes[1]);
    let targets = columns(&kernel.options, inputs.ints[0].clone(), classes);
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let (rows, width) = matrix(&floats[0]);
    let hidden = values::<f32>(&floats[0]);
    let layer = Layer {
        weight: values(&floats[1]),
        bias: floats.get(2).map_or(&[], values::<f32>),
        width,
        classes,
        transposed: kernel.transposed,
    };
    let weights = Weights::of(&kernel.options, classes);
    let (mut losses, mut log_sum_exps) = (zeros(rows), zeros(rows));
    let counted = counted(&targets);
    // In the order of blocks, where they are kept.
    let mut all =
        if keeps { buffer(counted.len() * classes) } else { one_block(&counted, classes) };
    let mut at = 0;
    for rows in counted.chunks(ROWS) {
        let block = Block::of(rows, hidden, width);
        let mut running = vec![(OnlineLogSumExp::NONE, 0.0); rows.len()];
        for columns in class_blocks(classes) {
            let size = rows.len() * columns.len();
            let logits = &mut all[at..at + size];
            at += if keeps { size } else { 0 };
            let out = MatrixMut::new(logits, rows.len(), columns.len());
            matmul(out, 0.0, block.hidden(), layer.block(&columns), 1.0, Threads::All);
            let chunks = chunks(rows.len(), columns.len());
            let work = chunks.par_iter().zip(split_rows(logits, columns.len(), &chunks));
            let work = work.zip(split_rows(&mut running, 1, &chunks));
            work.for_each(|((chunk, logits), running)| {
                let rows = &rows[chunk.clone()];
                let bias = layer.bias(&columns);
                take_in(logits, bias, &columns, rows, &targets, weights.smoothed, running);
            });
        }
        for (&row, (running, target_logit)) in rows.iter().zip(running) {
            log_sum_exps[row] = running.log_sum_exp();
            losses[row] = weights.loss(log_sum_exps[row], target_logit, running.total);
        }
    }
    let mut out = vec![tensor(losses, [targets.len()]), tensor(log_sum_exps, [targets.len()])];
    out.extend(keeps.then(|| tensor(all, [counted.len(), classes])));
    out
}

/// Room for the logits of a block.
fn one_block(counted: &[usize], classes: usize) -> Buffer {
    buffer(counted.len().min(ROWS) * classes.min(CLASSES))
}

simd! {
    /// Adds a block of logits to what its rows have come to, and picks the targets' logits.
    fn take_in(
        logits: &mut [f32],
        bias: &[f32],
        columns: &Range<usize>,
        rows: &[usize],
        targets: &[Option<usize>],
        with_total: bool,
        running: &mut [(OnlineLogSumExp, f32)],
    ) {
        let blocks = logits.chunks_exact_mut(columns.len());
        for ((logits, row), (running, target_logit)) in blocks.zip(rows).zip(running) {
            for (x, bias) in logits.iter_mut().zip(bias) {
                *x += bias;
            }
            running.add(logits, with_total);
            match targets[*row] {
                Some(target) if columns.contains(&target) => *target_logit = logits[target - columns.start],
                _ => {}
            }
        }
    }
}

pub(super) fn backward(kernel: &LinearBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let forward = &kernel.forward;
    let (shapes, ints) = inputs.shapes();
    let keeps = forward.keeps(&shapes, &ints);
    let classes = forward.classes(&shapes[1]);
    let targets = columns(&forward.options, inputs.ints[0].clone(), classes);
    let mut floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let mut kept = keeps.then(|| updatable(floats.remove(floats.len() - 2)));
    let (rows, width) = matrix(&floats[0]);
    let hidden = values::<f32>(&floats[0]);
    let layer = Layer {
        weight: values(&floats[1]),
        bias: if forward.bias { values(&floats[2]) } else { &[] },
        width,
        classes,
        transposed: forward.transposed,
    };
    let at_end = |back: usize| values::<f32>(&floats[floats.len() - back]);
    let terms = Terms {
        weights: Weights::of(&forward.options, classes),
        targets: &targets,
        log_sum_exps: at_end(2),
        gradient: at_end(1),
    };
    let [for_hidden, for_weight, for_bias] = kernel.needed;
    let mut hidden_out = zeros(if for_hidden { rows * width } else { 0 });
    let mut weight_out = zeros(if for_weight { width * classes } else { 0 });
    let mut bias_out = zeros(if for_bias { classes } else { 0 });

    let counted = counted(&targets);
    let mut made = one_block(if keeps { &[] } else { &counted }, classes);
    let all = kept.as_mut().map_or(&mut made[..], values_mut);
    let mut at = 0;
    let mut packed_out = zeros(if for_hidden { counted.len().min(ROWS) * width } else { 0 });
    for (number, rows) in counted.chunks(ROWS).enumerate() {
        let block = Block::of(rows, hidden, width);
        for columns in class_blocks(classes) {
            let size = rows.len() * columns.len();
            let logits = &mut all[at..at + size];
            let bias = if keeps {
                at += size;
                &[]
            } else {
                let out = MatrixMut::new(logits, rows.len(), columns.len());
                matmul(out, 0.0, block.hidden(), layer.block(&columns), 1.0, Threads::All);
                layer.bias(&columns)
            };
            let sums = for_bias.then(|| &mut bias_out[columns.clone()]);
            turn_to_gradient(logits, bias, &columns, rows, &terms, sums);
            let along = Matrix::new(logits, rows.len(), columns.len());
            if for_hidden {
                let out = &mut packed_out[..rows.len() * width];
                let out = MatrixMut::new(out, rows.len(), width);
                let keep = if columns.start == 0 { 0.0 } else { 1.0 };
                matmul(out, keep, along, layer.block(&columns).transposed(), 1.0, Threads::All);
            }
            if for_weight {
                let keep = if number == 0 { 0.0 } else { 1.0 };
                if forward.transposed {
                    let out = &mut weight_out[columns.start * width..columns.end * width];
                    let out = MatrixMut::new(out, columns.len(), width);
                    matmul(out, keep, along.transposed(), block.hidden(), 1.0, Threads::All);
                } else {
                    let out = &mut weight_out[columns.start..];
                    let out = MatrixMut::strided(out, width, columns.len(), classes);
                    matmul(out, keep, block.hidden().transposed(), along, 1.0, Threads::All);
                }
            }
        }
        if for_hidden {
            for (&row, out) in rows.iter().zip(packed_out.chunks_exact(width)) {
                hidden_out[row * width..(row + 1) * width].copy_from_slice(out);
            }
        }
    }
    let shape = |index: usize| floats[index].layout().shape().clone();
    let mut out = Vec::new();
    if for_hidden {
        out.push(tensor(hidden_out, shape(0)));
    }
    if for_weight {
        out.push(tensor(weight_out, shape(1)));
    }
    if for_bias {
        out.push(tensor(bias_out, [classes]));
    }
    out
}

/// What the rows' gradients are made of.
struct Terms<'a> {
    weights: Weights,
    targets: &'a [Option<usize>],
    log_sum_exps: &'a [f32],
    gradient: &'a [f32],
}

/// Replaces a block of logits by their gradient, and adds its columns up if they are wanted.
fn turn_to_gradient(
    logits: &mut [f32],
    bias: &[f32],
    columns: &Range<usize>,
    rows: &[usize],
    terms: &Terms<'_>,
    sums: Option<&mut [f32]>,
) {
    let width = columns.len();
    let partial: Vec<Vec<f32>> = par_rows(logits, rows.len(), width)
        .map(|(chunk, logits)| {
            let mut partial = vec![0.0; if sums.is_some() { width } else { 0 }];
            gradient_rows(logits, bias, columns, &rows[chunk], terms, &mut partial);
            partial
        })
        .collect();
    if let Some(sums) = sums {
        for partial in &partial {
            for (sum, partial) in sums.iter_mut().zip(partial) {
                *sum += partial;
            }
        }
    }
}

simd! {
    fn gradient_rows(
        logits: &mut [f32],
        bias: &[f32],
        columns: &Range<usize>,
        rows: &[usize],
        terms: &Terms<'_>,
        sums: &mut [f32],
    ) {
        for (logits, row) in logits.chunks_exact_mut(columns.len()).zip(rows) {
            for (x, bias) in logits.iter_mut().zip(bias) {
                *x += bias;
            }
            let gradient = terms.gradient[*row];
            terms.weights.gradient_in_place(terms.log_sum_exps[*row], gradient, logits);
            match terms.targets[*row] {
                Some(target) if columns.contains(&target) => {
                    logits[target - columns.start] -= terms.weights.target_grad(gradient);
                }
                _ => {}
            }
            for (sum, x) in sums.iter_mut().zip(logits.iter()) {
                *sum += x;
            }
        }
    }
}
