//! In plain tensor operations.

use super::{GroupNorm, GroupNormBackward};
use crate::{
    Tensors,
    plain::{primitive, tensor},
};
use burn::tensor::{Tensor, activation::gelu, backend::Backend as BurnBackend, ops::FloatTensor};

/// The mean of every group of a sequence, `[batch, 1, groups, 1]`.
fn mean<B: BurnBackend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.mean_dim(3).mean_dim(1)
}

pub(super) fn forward<B: BurnBackend>(norm: &GroupNorm, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let [x, weight, bias] = inputs.take();
    let x = tensor::<B, 3>(x);
    let [batch, frames, channels] = x.dims();
    let groups = norm.options.groups;
    let x = x.reshape([batch, frames, groups, channels / groups]);
    let mean_of = mean(x.clone());
    let centred = x - mean_of.clone();
    let variance = mean(centred.clone().square());
    let inverse = variance.add_scalar(norm.options.epsilon).sqrt().recip();
    let normal = (centred * inverse.clone()).reshape([batch, frames, channels]);
    let [weight, bias] = [weight, bias].map(|x| tensor::<B, 1>(x).reshape([1, 1, channels]));
    let mut out = normal * weight + bias;
    if norm.options.gelu {
        out = gelu(out);
    }
    let statistics = [mean_of, inverse].map(|x| x.reshape([batch, groups, 1])).to_vec();
    vec![primitive(out), primitive(Tensor::cat(statistics, 2))]
}

pub(super) fn backward<B: BurnBackend>(
    norm: &GroupNormBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, weight, bias, statistics, gradient] = inputs.take();
    let (x, mut gradient) = (tensor::<B, 3>(x), tensor::<B, 3>(gradient));
    let [batch, frames, channels] = x.dims();
    let groups = norm.options.groups;
    let apart = [batch, frames, groups, channels / groups];
    // Statistics are f32 even where the rest is not.
    let statistics = tensor::<B, 3>(statistics).cast(x.dtype());
    let [mean_of, inverse] =
        [0, 1].map(|which| statistics.clone().narrow(2, which, 1).reshape([batch, 1, groups, 1]));
    let normal = (x.reshape(apart) - mean_of) * inverse.clone();
    let [weight, bias] = [weight, bias].map(|x| tensor::<B, 1>(x).reshape([1, 1, channels]));
    let flat = normal.clone().reshape([batch, frames, channels]);
    if norm.options.gelu {
        let z = flat.clone() * weight.clone() + bias;
        let below = (z.clone() / std::f64::consts::SQRT_2).erf().add_scalar(1.0) * 0.5;
        let density = (z.clone().square() * -0.5).exp() / (2.0 * std::f64::consts::PI).sqrt();
        gradient = gradient * (below + z * density);
    }
    let sums = [gradient.clone() * flat, gradient.clone()]
        .map(|x| primitive(x.sum_dim(0).sum_dim(1).reshape([channels])));
    let mut outputs = sums.to_vec();
    if norm.with_x {
        let scaled = (gradient * weight).reshape(apart);
        let along = mean(scaled.clone() * normal.clone());
        let found = (scaled.clone() - mean(scaled) - normal * along) * inverse;
        outputs.push(primitive(found.reshape([batch, frames, channels])));
    }
    outputs
}
