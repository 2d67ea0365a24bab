//! AdamW, <https://arxiv.org/abs/1711.05101>, with PyTorch's conventions: decay first, epsilon
//! outside the root, both means corrected for their start at zero.

use super::options::StepOptions;
use crate::recipe::AdamW;
use burn::tensor::Tensor;
use kiln_core::Backend;
use kiln_kernels::{AdamWState, AdamWStep, adamw};

/// A parameter before an update; the state is the mean and the squared mean of gradients.
pub(super) struct Item<B: Backend> {
    pub options: StepOptions,
    pub weight: Tensor<B, 1>,
    pub gradient: Tensor<B, 1>,
    pub state: Vec<Tensor<B, 1>>,
}

/// One step of many parameters: their new values and states. Gradients are multiplied with `scale`.
pub(super) fn step<B: Backend>(
    settings: &AdamW,
    count: u64,
    scale: f64,
    items: Vec<Item<B>>,
) -> Vec<(Tensor<B, 1>, Vec<Tensor<B, 1>>)> {
    let steps = items.into_iter().map(|Item { options, weight, gradient, state }| {
        let [mean, square] = <[_; 2]>::try_from(state)
            .unwrap_or_else(|_| [gradient.zeros_like(), gradient.zeros_like()]);
        let StepOptions { rate, decay, .. } = options;
        AdamWStep { weight, gradient, mean, square, rate, decay }
    });
    let rule = kiln_kernels::AdamW {
        betas: settings.betas,
        epsilon: settings.epsilon,
        count,
        gradient_scale: scale,
    };
    let updated = adamw(rule, steps.collect()).into_iter();
    updated.map(|AdamWState { weight, mean, square }| (weight, vec![mean, square])).collect()
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
        let options = StepOptions { rate: 0.1, decay: 0.5 };
        let item = Item { options, weight, gradient, state: Vec::new() };
        let (weight, state) = step(&settings, 1, 1.0, vec![item]).swap_remove(0);
        // 1 · (1 − 0.1 · 0.5) ∓ 0.1: the corrected means are g and g², so the update is a sign.
        assert_close(&values(&weight), &[0.85, 1.05], 1e-6);
        assert_close(&values(&state[0]), &[0.05, -2.0], 1e-6);
        assert_close(&values(&state[1]), &[0.000_25, 0.4], 1e-5);
    }
}
