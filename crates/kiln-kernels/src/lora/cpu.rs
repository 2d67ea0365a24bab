//! On the CPU: every product is added where its sum lies.

use super::{Lora, LoraBackward};
use crate::{
    Kernel, Tensors,
    cpu::{
        buffer, column_sums, contiguous, fill_rows,
        matmul::{Threads, matmul},
        matrix,
        matrix::{Matrix, MatrixMut},
        tensor, unflipped, values,
    },
};
use burn_flex::{Flex, FlexTensor};

pub(super) fn forward(lora: &Lora, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (floats, ints) = inputs.shapes();
    let shape = lora.outputs(&floats, &ints).swap_remove(0).shape;
    let mut floats = inputs.floats;
    let bias = if lora.bias { floats.pop() } else { None };
    let [x, weight, down, up] = Tensors::<Flex>::floats(floats).take().map(unflipped);
    let x = contiguous(x);
    let (rows, inputs) = matrix(&x);
    let (rank, outputs) = (up.layout().shape()[0], up.layout().shape()[1]);
    let x = Matrix::new(values::<f32>(&x), rows, inputs);
    let mut out = buffer(rows * outputs);
    if let Some(bias) = &bias {
        fill_rows(&mut out, values::<f32>(&contiguous(bias.clone())));
    }
    let keep = if bias.is_some() { 1.0 } else { 0.0 };
    let mut projected = buffer(rows * rank);
    let to = MatrixMut::new(&mut projected, rows, rank);
    matmul(to, 0.0, x, Matrix::of(&down), 1.0, Threads::All);
    let to = MatrixMut::new(&mut out, rows, outputs);
    matmul(to, keep, x, Matrix::of(&weight), 1.0, Threads::All);
    let from = Matrix::new(&projected, rows, rank);
    let to = MatrixMut::new(&mut out, rows, outputs);
    matmul(to, 1.0, from, Matrix::of(&up), lora.scale as f32, Threads::All);
    vec![tensor(out, shape), tensor(projected, [rows, rank])]
}

pub(super) fn backward(lora: &LoraBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, weight, down, up, projected, gradient] = inputs.take().map(unflipped);
    let [x, projected, gradient] = [x, projected, gradient].map(contiguous);
    let shape = x.layout().shape().clone();
    let (rows, inputs) = matrix(&x);
    let (rank, outputs) = (up.layout().shape()[0], up.layout().shape()[1]);
    let x = Matrix::new(values::<f32>(&x), rows, inputs);
    let projected = Matrix::new(values::<f32>(&projected), rows, rank);
    let bias_gradient = lora.bias.then(|| column_sums(values::<f32>(&gradient), outputs));
    let gradient = Matrix::new(values::<f32>(&gradient), rows, outputs);
    let scale = lora.scale as f32;

    let mut through = buffer(rows * rank);
    let to = MatrixMut::new(&mut through, rows, rank);
    matmul(to, 0.0, gradient, Matrix::of(&up).transposed(), scale, Threads::All);
    let through = Matrix::new(&through, rows, rank);
    let mut down_gradient = buffer(inputs * rank);
    let to = MatrixMut::new(&mut down_gradient, inputs, rank);
    matmul(to, 0.0, x.transposed(), through, 1.0, Threads::All);
    let mut up_gradient = buffer(rank * outputs);
    let to = MatrixMut::new(&mut up_gradient, rank, outputs);
    matmul(to, 0.0, projected.transposed(), gradient, scale, Threads::All);
    let mut found =
        vec![tensor(down_gradient, [inputs, rank]), tensor(up_gradient, [rank, outputs])];
    if lora.x {
        let mut x_gradient = buffer(rows * inputs);
        for (keep, from, by) in [(0.0, gradient, &weight), (1.0, through, &down)] {
            let to = MatrixMut::new(&mut x_gradient, rows, inputs);
            matmul(to, keep, from, Matrix::of(by).transposed(), 1.0, Threads::All);
        }
        found.push(tensor(x_gradient, shape));
    }
    found.extend(bias_gradient.map(|gradient| tensor(gradient, [outputs])));
    found
}
