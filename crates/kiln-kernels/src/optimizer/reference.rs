//! In plain tensor operations.

use super::{AdamWUpdate, Ema, primitive, tensor};
use crate::Tensors;
use burn::tensor::{backend::Backend as BurnBackend, ops::FloatTensor};

pub(super) fn adamw<B: BurnBackend>(
    kernel: &AdamWUpdate,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let settings = &kernel.settings;
    let [beta_mean, beta_square] = settings.betas;
    let count = i32::try_from(settings.count).unwrap_or(i32::MAX);
    let mean_correction = 1.0 - beta_mean.powi(count);
    let square_correction = (1.0 - beta_square.powi(count)).sqrt();
    let mut floats = inputs.floats.into_iter().map(tensor::<B, 1>);
    let mut updated = Vec::new();
    for &[rate, decay] in &kernel.rates {
        let (Some(weight), Some(gradient), Some(mean), Some(square)) =
            (floats.next(), floats.next(), floats.next(), floats.next())
        else {
            break;
        };
        let gradient = gradient * settings.gradient_scale;
        let mean = mean * beta_mean + gradient.clone() * (1.0 - beta_mean);
        let square = square * beta_square + gradient.square() * (1.0 - beta_square);
        let root = square.clone().sqrt() / square_correction + settings.epsilon;
        let update = mean.clone() / root * (rate / mean_correction);
        let weight = weight * (1.0 - rate * decay) - update;
        updated.extend([weight, mean, square].map(primitive));
    }
    updated
}

pub(super) fn ema<B: BurnBackend>(kernel: &Ema, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter().map(tensor::<B, 1>);
    let mut updated = Vec::new();
    while let (Some(average), Some(weight)) = (floats.next(), floats.next()) {
        updated.push(primitive(average * kernel.decay + weight * (1.0 - kernel.decay)));
    }
    updated
}
