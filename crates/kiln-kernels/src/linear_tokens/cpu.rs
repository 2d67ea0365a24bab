//! On the CPU: a small product an item, items divided among threads.

use super::{LinearTokens, LinearTokensBackward};
use crate::{
    Tensors,
    cpu::{
        buffer, chunks, contiguous,
        matmul::{Threads, matmul},
        matrix::{Matrix, MatrixMut},
        par_rows, par_split,
        simd::{simd, sum},
        tensor, total, unflipped, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn forward(linear: &LinearTokens, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let mut floats = inputs.floats;
    let bias = if linear.bias { floats.pop().map(contiguous) } else { None };
    let bias = bias.as_ref().map(values::<f32>);
    let [x, weight] = Tensors::<Flex>::floats(floats).take().map(unflipped);
    let x = contiguous(x);
    let [batch, tokens, width] = x.layout().shape().dims();
    let outputs = weight.layout().shape()[1];
    let mut out = buffer(batch * outputs * width);
    par_rows(&mut out, batch, outputs * width).for_each(|(chunk, out)| {
        let items = chunk.zip(out.chunks_exact_mut((outputs * width).max(1)));
        for (item, out) in items {
            if let Some(bias) = bias {
                for (row, bias) in out.chunks_exact_mut(width).zip(bias) {
                    row.fill(*bias);
                }
            }
            let x = &values::<f32>(&x)[item * tokens * width..(item + 1) * tokens * width];
            matmul(
                MatrixMut::new(out, outputs, width),
                if bias.is_some() { 1.0 } else { 0.0 },
                Matrix::of(&weight).transposed(),
                Matrix::new(x, tokens, width),
                1.0,
                Threads::One,
            );
        }
    });
    vec![tensor(out, [batch, outputs, width])]
}

pub(super) fn backward(linear: &LinearTokensBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, weight, gradient] = inputs.take().map(unflipped);
    let (x, gradient) = (contiguous(x), contiguous(gradient));
    let [batch, tokens, width] = x.layout().shape().dims();
    let outputs = weight.layout().shape()[1];
    let mut x_gradient = buffer(if linear.x { batch * tokens * width } else { 0 });
    let chunks = chunks(batch, outputs * width);
    let columns = if linear.x { tokens * width } else { 0 };
    // Gradients of weight and bias: a partial sum a part.
    let partial: Vec<Vec<f32>> = par_split(&chunks, [(&mut x_gradient, columns)])
        .map(|(chunk, [x_gradient])| {
            let mut sums = vec![0.0; (tokens + 1) * outputs];
            let (weight_sums, bias_sums) = sums.split_at_mut(tokens * outputs);
            for (index, item) in chunk.clone().enumerate() {
                let of = |size: usize| item * size * width..(item + 1) * size * width;
                let x = Matrix::new(&values::<f32>(&x)[of(tokens)], tokens, width);
                let gradient = &values::<f32>(&gradient)[of(outputs)];
                add_row_sums(gradient, bias_sums);
                let gradient = Matrix::new(gradient, outputs, width);
                let to = MatrixMut::new(weight_sums, tokens, outputs);
                matmul(to, 1.0, x, gradient.transposed(), 1.0, Threads::One);
                if linear.x {
                    let to = &mut x_gradient[index * tokens * width..(index + 1) * tokens * width];
                    let to = MatrixMut::new(to, tokens, width);
                    matmul(to, 0.0, Matrix::of(&weight), gradient, 1.0, Threads::One);
                }
            }
            sums
        })
        .collect();
    let mut sums = total(partial);
    let bias_sums = sums.split_off(tokens * outputs);
    let mut found = vec![tensor(sums, [tokens, outputs]), tensor(bias_sums, [outputs])];
    if linear.x {
        found.push(tensor(x_gradient, [batch, tokens, width]));
    }
    found
}

simd! {
    fn add_row_sums(rows: &[f32], sums: &mut [f32]) {
        let width = rows.len() / sums.len().max(1);
        for (row, total) in rows.chunks_exact(width.max(1)).zip(sums) {
            *total += sum(row, |value| value);
        }
    }
}
