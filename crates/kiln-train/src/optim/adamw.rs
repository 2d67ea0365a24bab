//! AdamW, <https://arxiv.org/abs/1711.05101>, with PyTorch's conventions: decay first, epsilon
//! outside the root, both means corrected for their start at zero.

use super::Moment;
use crate::recipe::AdamW;
use burn::tensor::Tensor;
use kiln_core::Backend;

/// One step; the state is the mean and the squared mean of gradients.
pub(super) fn step<B: Backend>(
    settings: &AdamW,
    moment: Moment,
    weight: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    state: Vec<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
    let [beta_mean, beta_square] = settings.betas;
    let (mean, square) = match <[_; 2]>::try_from(state) {
        Ok([mean, square]) => (mean, square),
        Err(_) => (gradient.zeros_like(), gradient.zeros_like()),
    };
    let mean = mean.mul_scalar(beta_mean) + gradient.clone().mul_scalar(1.0 - beta_mean);
    let square = square.mul_scalar(beta_square) + gradient.square().mul_scalar(1.0 - beta_square);
    let count = i32::try_from(moment.count).unwrap_or(i32::MAX);
    let mean_correction = 1.0 - beta_mean.powi(count);
    let square_correction = (1.0 - beta_square.powi(count)).sqrt();
    let root = square.clone().sqrt().div_scalar(square_correction).add_scalar(settings.epsilon);
    let update = (mean.clone() / root).mul_scalar(moment.rate / mean_correction);
    (moment.decayed(weight) - update, vec![mean, square])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use burn_flex::Flex;

    #[test]
    fn the_first_step_has_the_length_of_the_rate() {
        let device = Default::default();
        let weight = Tensor::<Flex, 1>::from_floats([1.0, 1.0], &device);
        let gradient = Tensor::from_floats([0.5, -20.0], &device);
        let settings = AdamW { weight_decay: 0.5, ..AdamW::default() };
        let moment = Moment { rate: 0.1, decay: 0.5, count: 1 };
        let (weight, state) = step(&settings, moment, weight, gradient, Vec::new());
        // 1 · (1 − 0.1 · 0.5) ∓ 0.1: the corrected means are g and g², so the update is a sign.
        assert_close(&values(&weight), &[0.85, 1.05], 1e-6);
        assert_close(&values(&state[0]), &[0.05, -2.0], 1e-6);
        assert_close(&values(&state[1]), &[0.000_25, 0.4], 1e-5);
    }
}
