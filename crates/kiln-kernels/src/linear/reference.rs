//! In plain tensor operations.

use super::{Linear, LinearBackward, Parts};
use crate::{
    Tensors,
    plain::{matrix, primitive},
};
use burn::tensor::{Tensor, TensorMetadata, backend::Backend as BurnBackend, ops::FloatTensor};

pub(super) fn forward<B: BurnBackend>(linear: &Linear, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let (floats, ints) = inputs.shapes();
    let shape = crate::Kernel::outputs(linear, &floats, &ints).swap_remove(0).shape;
    let Parts { x, weights, rest } = Parts::new(inputs.floats, linear.layers);
    let mut rest = rest.into_iter();
    let x = matrix::<B>(x);
    let outs = weights
        .into_iter()
        .map(|weight| {
            let weight = matrix::<B>(weight);
            let out = x.clone().matmul(if linear.tied { weight.transpose() } else { weight });
            let bias = if linear.bias { rest.next() } else { None };
            match bias {
                Some(bias) => out + matrix::<B>(bias),
                None => out,
            }
        })
        .collect::<Vec<_>>();
    let mut out =
        if outs.len() == 1 { outs.into_iter().collect() } else { vec![Tensor::cat(outs, 1)] };
    let mut out: Tensor<B, 2> = out.swap_remove(0);
    if let Some(residual) = rest.next() {
        out = out + matrix::<B>(residual);
    }
    vec![B::float_reshape(primitive(out), shape)]
}

pub(super) fn backward<B: BurnBackend>(
    linear: &LinearBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let Parts { x, weights, mut rest } = Parts::new(inputs.floats, linear.layers);
    let shape = x.shape();
    let x = matrix::<B>(x);
    let gradient = matrix::<B>(rest.swap_remove(0));
    let mut start = 0;
    let mut x_gradient: Option<Tensor<B, 2>> = None;
    let (mut weight_gradients, mut bias_gradients) = (Vec::new(), Vec::new());
    for (index, weight) in weights.into_iter().enumerate() {
        let weight = matrix::<B>(weight);
        let weight = if linear.tied { weight.transpose() } else { weight };
        let outputs = weight.dims()[1];
        let part = gradient.clone().narrow(1, start, outputs);
        start += outputs;
        if linear.x {
            let product = part.clone().matmul(weight.transpose());
            x_gradient = Some(match x_gradient {
                Some(sum) => sum + product,
                None => product,
            });
        }
        if linear.weights[index] {
            let gradient = if linear.tied {
                part.clone().transpose().matmul(x.clone())
            } else {
                x.clone().transpose().matmul(part.clone())
            };
            weight_gradients.push(primitive(gradient));
        }
        if linear.biases.get(index).copied().unwrap_or_default() {
            bias_gradients.push(B::float_reshape(primitive(part.sum_dim(0)), [outputs].into()));
        }
    }
    let x_gradient = x_gradient.map(|gradient| B::float_reshape(primitive(gradient), shape));
    x_gradient.into_iter().chain(weight_gradients).chain(bias_gradients).collect()
}
