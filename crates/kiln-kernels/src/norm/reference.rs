//! In plain tensor operations.

use super::{AddNorm, Norm, NormBackward};
use crate::{
    Tensors,
    plain::{matrix, primitive},
};
use burn::tensor::{Tensor, TensorMetadata, backend::Backend as BurnBackend, ops::FloatTensor};

pub(super) fn forward<B: BurnBackend>(norm: &Norm, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter();
    let (Some(x), Some(weight)) = (floats.next(), floats.next()) else { return Vec::new() };
    let shape = x.shape();
    let x = matrix::<B>(x);
    let mean = if norm.centred { x.clone().mean_dim(1) } else { x.clone().mean_dim(1) * 0.0 };
    let centred = x - mean.clone();
    let variance = centred.clone().square().mean_dim(1);
    let inverse = variance.add_scalar(norm.epsilon).sqrt().recip();
    let mut out = centred * inverse.clone() * matrix::<B>(weight);
    if let Some(bias) = floats.next() {
        out = out + matrix::<B>(bias);
    }
    let statistics = Tensor::cat(vec![mean, inverse], 1);
    vec![B::float_reshape(primitive(out), shape), primitive(statistics)]
}

pub(super) fn forward_add<B: BurnBackend>(
    AddNorm { norm }: &AddNorm,
    mut inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let residual = inputs.floats.remove(1);
    inputs.floats[0] = B::float_add(inputs.floats[0].clone(), residual);
    let sum = inputs.floats[0].clone();
    [sum].into_iter().chain(forward(norm, inputs)).collect()
}

pub(super) fn backward<B: BurnBackend>(
    norm: &NormBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, weight, statistics, gradient] = inputs.take();
    let (shape, weight_shape) = (x.shape(), weight.shape());
    let gradient = matrix::<B>(gradient);
    // Statistics are f32 even where the rest is not.
    let statistics = matrix::<B>(statistics).cast(gradient.dtype());
    let [mean, inverse] = [0, 1].map(|column| statistics.clone().narrow(1, column, 1));
    let normal = (matrix::<B>(x) - mean) * inverse.clone();
    let scaled = gradient.clone() * matrix::<B>(weight);
    let along = (scaled.clone() * normal.clone()).mean_dim(1);
    let mut x_gradient = scaled.clone() - normal.clone() * along;
    if norm.centred {
        x_gradient = x_gradient - scaled.mean_dim(1);
    }
    let weight_gradient = (gradient.clone() * normal).sum_dim(0);
    vec![
        B::float_reshape(primitive(x_gradient * inverse), shape),
        B::float_reshape(primitive(weight_gradient), weight_shape.clone()),
        B::float_reshape(primitive(gradient.sum_dim(0)), weight_shape),
    ]
}
