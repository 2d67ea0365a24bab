//! In plain tensor operations.

use super::{Activate, ActivateBackward, Activation, Gated, GatedBackward};
use crate::{
    Tensors,
    plain::{matrix, primitive},
};
use burn::tensor::{
    Tensor, TensorMetadata,
    activation::{relu, sigmoid},
    backend::Backend as BurnBackend,
    ops::FloatTensor,
};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, PI};

/// The approximation of the normal distribution function by a hyperbolic tangent, and its slope;
/// beyond 12 it is level, and the cube of x would overflow.
fn tanh_normal<B: BurnBackend>(x: Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
    let x = x.clamp(-12.0, 12.0);
    let square = x.clone().square();
    let scale = FRAC_2_PI.sqrt();
    let t = (x * (square.clone() * 0.044_715 + 1.0) * scale).tanh();
    let slope = (square * (3.0 * 0.044_715) + 1.0) * (0.5 * scale);
    [(t.clone() + 1.0) * 0.5, (-t.square() + 1.0) * slope]
}

fn value<B: BurnBackend>(activation: Activation, x: Tensor<B, 2>) -> Tensor<B, 2> {
    match activation {
        Activation::Identity => x,
        Activation::Relu => relu(x),
        Activation::Gelu => x.clone() * ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5,
        Activation::GeluTanh => {
            let [below, _] = tanh_normal(x.clone());
            x * below
        }
        Activation::GeluSigmoid => x.clone() * sigmoid(x * 1.702),
        Activation::Silu => x.clone() * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
    }
}

fn derivative<B: BurnBackend>(activation: Activation, x: Tensor<B, 2>) -> Tensor<B, 2> {
    // That of x sigmoid(scale x).
    let swish = |x: Tensor<B, 2>, scale: f64| {
        let s = sigmoid(x.clone() * scale);
        s.clone() + x * scale * s.clone() * (-s + 1.0)
    };
    match activation {
        Activation::Identity => x.ones_like(),
        Activation::Relu => x.sign().clamp_min(0.0),
        Activation::Gelu => {
            let density = (x.clone().square() * -0.5).exp() * (1.0 / (2.0 * PI).sqrt());
            ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5 + x * density
        }
        Activation::GeluTanh => {
            let [below, slope] = tanh_normal(x.clone());
            below + x.clamp(-12.0, 12.0) * slope
        }
        Activation::GeluSigmoid => swish(x, 1.702),
        Activation::Silu => swish(x, 1.0),
        Activation::Sigmoid => {
            let s = sigmoid(x);
            s.clone() * (-s + 1.0)
        }
        Activation::Tanh => -x.tanh().square() + 1.0,
    }
}

/// The sum of x and a bias, if there is one.
fn biased<B: BurnBackend>(x: FloatTensor<B>, bias: Option<FloatTensor<B>>) -> Tensor<B, 2> {
    let x = matrix::<B>(x);
    match bias {
        Some(bias) => x + matrix::<B>(bias),
        None => x,
    }
}

pub(super) fn activate<B: BurnBackend>(
    kernel: &Activate,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter();
    let Some(x) = floats.next() else { return Vec::new() };
    let shape = x.shape();
    let out = value(kernel.activation, biased::<B>(x, floats.next()));
    vec![B::float_reshape(primitive(out), shape)]
}

pub(super) fn activate_backward<B: BurnBackend>(
    kernel: &ActivateBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let (x, bias, gradient) = if kernel.bias {
        let [x, bias, gradient] = inputs.take();
        (x, Some(bias), gradient)
    } else {
        let [x, gradient] = inputs.take();
        (x, None, gradient)
    };
    let shape = x.shape();
    let bias_shape = bias.as_ref().map(|bias| bias.shape());
    let x_gradient = matrix::<B>(gradient) * derivative(kernel.activation, biased::<B>(x, bias));
    let mut gradients = vec![B::float_reshape(primitive(x_gradient.clone()), shape)];
    if let (true, Some(shape)) = (kernel.bias_gradient, bias_shape) {
        gradients.push(B::float_reshape(primitive(x_gradient.sum_dim(0)), shape));
    }
    gradients
}

pub(super) fn gated<B: BurnBackend>(kernel: &Gated, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let [x] = inputs.take();
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    let hidden = shape[last];
    let x = matrix::<B>(x);
    let [gate, gated] = [0, 1].map(|half| x.clone().narrow(1, half * hidden, hidden));
    vec![B::float_reshape(primitive(value(kernel.activation, gate) * gated), shape)]
}

pub(super) fn gated_backward<B: BurnBackend>(
    kernel: &GatedBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [x, gradient] = inputs.take();
    let shape = x.shape();
    let (x, gradient) = (matrix::<B>(x), matrix::<B>(gradient));
    let hidden = gradient.dims()[1];
    let [gate, gated] = [0, 1].map(|half| x.clone().narrow(1, half * hidden, hidden));
    let gate_gradient = gradient.clone() * gated * derivative(kernel.activation, gate.clone());
    let gated_gradient = gradient * value(kernel.activation, gate);
    let out = Tensor::cat(vec![gate_gradient, gated_gradient], 1);
    vec![B::float_reshape(primitive(out), shape)]
}
