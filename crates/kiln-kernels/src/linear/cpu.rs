//! On the CPU: products on views, started from bias and residual.

use super::{Linear, LinearBackward, Parts};
use crate::{
    Kernel, Tensors,
    cpu::{
        add_to_rows, buffer, column_sums, contiguous, fill_rows,
        matmul::{Threads, matmul},
        matrix,
        matrix::{Matrix, MatrixMut},
        tensor, unflipped, values,
    },
};
use burn_flex::{Flex, FlexTensor};

pub(super) fn forward(linear: &Linear, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (floats, ints) = inputs.shapes();
    let shape = linear.outputs(&floats, &ints).swap_remove(0).shape;
    let Parts { x, weights, rest } = Parts::new(inputs.floats, linear.layers);
    let x = contiguous(x);
    let weights: Vec<FlexTensor> = weights.into_iter().map(unflipped).collect();
    let rest: Vec<FlexTensor> = rest.into_iter().map(contiguous).collect();
    let (biases, residual) = rest.split_at(if linear.bias { linear.layers } else { 0 });
    let (rows, inputs) = matrix(&x);
    let weights: Vec<Matrix<'_>> =
        weights.iter().map(|weight| oriented(weight, linear.tied)).collect();
    let total = weights.iter().map(Matrix::columns).sum();
    let mut out = buffer(rows * total);
    if let Some(residual) = residual.first() {
        out.copy_from_slice(values::<f32>(residual));
    }
    if !biases.is_empty() {
        let bias: Vec<f32> =
            biases.iter().flat_map(|bias| values::<f32>(bias).iter().copied()).collect();
        if residual.is_empty() { fill_rows(&mut out, &bias) } else { add_to_rows(&mut out, &bias) }
    }
    let keep = if rest.is_empty() { 0.0 } else { 1.0 };
    let mut start = 0;
    for weight in weights {
        let outputs = weight.columns();
        matmul(
            MatrixMut::strided(&mut out[start..], rows, outputs, total),
            keep,
            Matrix::new(values::<f32>(&x), rows, inputs),
            weight,
            1.0,
            Threads::All,
        );
        start += outputs;
    }
    vec![tensor(out, shape)]
}

/// A weight as `[inputs, outputs]`.
fn oriented(weight: &FlexTensor, tied: bool) -> Matrix<'_> {
    if tied { Matrix::of(weight).transposed() } else { Matrix::of(weight) }
}

pub(super) fn backward(linear: &LinearBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let Parts { x, weights, rest } = Parts::new(inputs.floats, linear.layers);
    let x = contiguous(x);
    let weights: Vec<FlexTensor> = weights.into_iter().map(unflipped).collect();
    let gradient: Vec<FlexTensor> = rest.into_iter().map(contiguous).collect();
    let gradient = values::<f32>(&gradient[0]);
    let (rows, inputs) = matrix(&x);
    let weights: Vec<Matrix<'_>> =
        weights.iter().map(|weight| oriented(weight, linear.tied)).collect();
    let outputs: Vec<usize> = weights.iter().map(Matrix::columns).collect();
    let total: usize = outputs.iter().sum();
    let starts: Vec<usize> =
        outputs.iter().scan(0, |sum, size| Some(std::mem::replace(sum, *sum + size))).collect();
    let chunk = |index: usize| {
        Matrix::strided(&gradient[starts[index].min(gradient.len())..], rows, outputs[index], total)
    };
    let mut found = Vec::new();
    if linear.x {
        let mut x_gradient = buffer(rows * inputs);
        for (index, weight) in weights.iter().enumerate() {
            let keep = if index == 0 { 0.0 } else { 1.0 };
            let out = MatrixMut::new(&mut x_gradient, rows, inputs);
            matmul(out, keep, chunk(index), weight.transposed(), 1.0, Threads::All);
        }
        found.push(tensor(x_gradient, x.layout().shape().clone()));
    }
    for index in (0..linear.layers).filter(|&index| linear.weights[index]) {
        let mut weight_gradient = buffer(inputs * outputs[index]);
        let x = Matrix::new(values::<f32>(&x), rows, inputs);
        let (shape, left, right) = if linear.tied {
            ([outputs[index], inputs], chunk(index).transposed(), x)
        } else {
            ([inputs, outputs[index]], x.transposed(), chunk(index))
        };
        let out = MatrixMut::new(&mut weight_gradient, shape[0], shape[1]);
        matmul(out, 0.0, left, right, 1.0, Threads::All);
        found.push(tensor(weight_gradient, shape));
    }
    if linear.biases.contains(&true) {
        let sums = column_sums(gradient, total);
        for index in (0..linear.layers).filter(|&index| linear.biases[index]) {
            let range = starts[index]..starts[index] + outputs[index];
            found.push(tensor(sums[range].to_vec(), [outputs[index]]));
        }
    }
    found
}
