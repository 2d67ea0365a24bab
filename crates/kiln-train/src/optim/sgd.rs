//! Stochastic gradient descent with momentum, as PyTorch has it: the momentum starts as the first
//! gradient and is not damped. Weight decay is decoupled, as in the other rules here.

use super::options::StepOptions;
use crate::recipe::Sgd;
use burn::tensor::Tensor;
use kiln_core::Backend;

/// One step; the state is the momentum, or nothing without momentum.
pub(super) fn step<B: Backend>(
    settings: &Sgd,
    options: StepOptions,
    weight: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    state: Vec<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
    let weight = options.decayed(weight);
    if settings.momentum == 0.0 {
        return (weight - gradient.mul_scalar(options.rate), Vec::new());
    }
    let momentum = match state.into_iter().next() {
        Some(momentum) => momentum.mul_scalar(settings.momentum) + gradient.clone(),
        None => gradient.clone(),
    };
    let direction = if settings.nesterov {
        gradient + momentum.clone().mul_scalar(settings.momentum)
    } else {
        momentum.clone()
    };
    (weight - direction.mul_scalar(options.rate), vec![momentum])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use burn_flex::Flex;

    /// Two steps from 1 with gradients 1 and 1 at rate 0.1.
    fn two_steps(momentum: f64, nesterov: bool) -> f32 {
        let device = Default::default();
        let settings = Sgd { momentum, nesterov, ..Sgd::default() };
        let options = StepOptions { rate: 0.1, decay: 0.0 };
        let mut weight = Tensor::<Flex, 1>::ones([1], &device);
        let mut state = Vec::new();
        for _ in 0..2 {
            let gradient = Tensor::ones([1], &device);
            (weight, state) = step(&settings, options, weight, gradient, state);
        }
        values(&weight)[0]
    }

    #[test]
    fn by_hand() {
        assert_close(&[two_steps(0.0, false)], &[0.8], 1e-6);
        // Momenta 1 and 1.5.
        assert_close(&[two_steps(0.5, false)], &[0.75], 1e-6);
        // Steps 1 + 0.5 · 1 and 1 + 0.5 · 1.5.
        assert_close(&[two_steps(0.5, true)], &[1.0 - 0.15 - 0.175], 1e-6);
    }
}
