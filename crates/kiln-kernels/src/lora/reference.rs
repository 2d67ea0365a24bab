//! In plain tensor operations.

use super::{Lora, LoraBackward};
use crate::{
    Kernel, Tensors,
    plain::{matrix, primitive},
};
use burn::tensor::{TensorMetadata, backend::Backend as BurnBackend, ops::FloatTensor};

pub(super) fn forward<B: BurnBackend>(lora: &Lora, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let (floats, ints) = inputs.shapes();
    let shape = lora.outputs(&floats, &ints).swap_remove(0).shape;
    let mut floats = inputs.floats;
    let bias = if lora.bias { floats.pop() } else { None };
    let [x, weight, down, up] = Tensors::<B>::floats(floats).take().map(matrix::<B>);
    // The frozen weight carries no gradient, nor does anything through it but the input's.
    let projected = x.clone().matmul(down);
    let mut out = x.matmul(weight.detach()) + projected.clone().matmul(up).mul_scalar(lora.scale);
    if let Some(bias) = bias {
        out = out + matrix::<B>(bias);
    }
    vec![B::float_reshape(primitive(out), shape), primitive(projected)]
}

pub(super) fn backward<B: BurnBackend>(
    lora: &LoraBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let shape = inputs.floats[0].shape();
    let [x, weight, down, up, projected, gradient] = inputs.take().map(matrix::<B>);
    let through = gradient.clone().matmul(up.transpose()).mul_scalar(lora.scale);
    let up_gradient = projected.transpose().matmul(gradient.clone()).mul_scalar(lora.scale);
    let mut found = vec![primitive(x.transpose().matmul(through.clone())), primitive(up_gradient)];
    if lora.x {
        let sum = gradient.clone().matmul(weight.transpose()) + through.matmul(down.transpose());
        found.push(B::float_reshape(primitive(sum), shape));
    }
    if lora.bias {
        let outputs = gradient.dims()[1];
        found.push(B::float_reshape(primitive(gradient.sum_dim(0)), [outputs].into()));
    }
    found
}
