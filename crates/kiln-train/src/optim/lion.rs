//! Lion: the sign of a momentum, <https://arxiv.org/abs/2302.06675>, algorithm 2.

use super::options::StepOptions;
use crate::recipe::Lion;
use burn::tensor::Tensor;
use kiln_core::Backend;

/// One step; the state is the momentum.
pub(super) fn step<B: Backend>(
    settings: &Lion,
    options: StepOptions,
    weight: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    state: Vec<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
    let [beta_update, beta_momentum] = settings.betas;
    let momentum = state.into_iter().next().unwrap_or_else(|| gradient.zeros_like());
    let direction =
        momentum.clone().mul_scalar(beta_update) + gradient.clone().mul_scalar(1.0 - beta_update);
    let momentum = momentum.mul_scalar(beta_momentum) + gradient.mul_scalar(1.0 - beta_momentum);
    let weight = options.decayed(weight) - direction.sign().mul_scalar(options.rate);
    (weight, vec![momentum])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use burn_flex::Flex;

    #[test]
    fn two_steps_by_hand() {
        let device = Default::default();
        let settings = Lion { betas: [0.9, 0.5], ..Lion::default() };
        let options = StepOptions { rate: 0.1, decay: 1.0 };
        let weight = Tensor::<Flex, 1>::from_floats([1.0, 1.0], &device);
        let gradient = Tensor::from_floats([4.0, -0.2], &device);
        let (weight, state) = step(&settings, options, weight, gradient, Vec::new());
        assert_close(&values(&weight), &[0.8, 1.0], 1e-6);
        assert_close(&values(&state[0]), &[2.0, -0.1], 1e-6);
        // 0.9 · 2 − 0.1 · 1 > 0 although the gradient turned.
        let gradient = Tensor::from_floats([-1.0, -1.0], &device);
        let (weight, _) = step(&settings, options, weight, gradient, state);
        assert_close(&values(&weight), &[0.62, 1.0], 1e-6);
    }
}
