//! In plain tensor operations: transpose, multiply, transpose back.

use super::{LinearTokens, LinearTokensBackward};
use crate::{
    Tensors,
    plain::{matrix, primitive, tensor},
};
use burn::tensor::{TensorMetadata, backend::Backend as BurnBackend, ops::FloatTensor};

pub(super) fn forward<B: BurnBackend>(
    linear: &LinearTokens,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats;
    let bias = if linear.bias { floats.pop() } else { None };
    let [x, weight] = Tensors::<B>::floats(floats).take();
    let mut out = tensor::<B, 3>(x).swap_dims(1, 2).matmul(matrix::<B>(weight).unsqueeze());
    if let Some(bias) = bias {
        out = out + matrix::<B>(bias).unsqueeze();
    }
    vec![primitive(out.swap_dims(1, 2))]
}

pub(super) fn backward<B: BurnBackend>(
    linear: &LinearTokensBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, weight, gradient] = inputs.take();
    let outputs = weight.shape()[1];
    let (x, gradient) = (tensor::<B, 3>(x), tensor::<B, 3>(gradient));
    let weight_gradient = x.matmul(gradient.clone().swap_dims(1, 2)).sum_dim(0);
    let bias_gradient = gradient.clone().sum_dim(0).sum_dim(2).reshape([outputs]);
    let mut found = vec![primitive(weight_gradient.squeeze_dim::<2>(0)), primitive(bias_gradient)];
    if linear.x {
        found.push(primitive(matrix::<B>(weight).unsqueeze::<3>().matmul(gradient)));
    }
    found
}
