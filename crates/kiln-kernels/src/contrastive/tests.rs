use super::*;
use crate::testing::{Check, Numbers, agrees, close, gradients_agree, outputs_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(
    softmax_agrees_with_the_reference,
    sigmoid_agrees_with_the_reference,
    sharp_temperatures_stay_finite,
    only_what_is_needed,
);

/// One pair, odd sizes, several blocks.
const SIZES: [(usize, usize); 4] = [(1, 3), (2, 1), (37, 8), (135, 5)];

fn one(value: f32) -> TensorData {
    TensorData::new(vec![value], [1])
}

fn softmax_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(21);
    for (pairs, width) in SIZES {
        let floats = [numbers.floats([pairs, width]), numbers.floats([pairs, width]), one(0.7)];
        let kernel = Pairs { loss: PairLoss::Softmax };
        outputs_agree::<B, _>(Check::F32, &kernel, &floats, &[]);
        // A pair alone has probability one: its gradient is rounding alone.
        if pairs > 1 {
            gradients_agree::<B, _>(Check::F32, &kernel, &floats, &[]);
        }
    }
}

fn sigmoid_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(22);
    for (pairs, width) in SIZES {
        for (scale, bias) in [(1.5, -1.0), (0.1, -10.0)] {
            let floats = [
                numbers.floats([pairs, width]),
                numbers.floats([pairs, width]),
                one(scale),
                one(bias),
            ];
            let kernel = Pairs { loss: PairLoss::Sigmoid };
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

/// Similarities whose exponentials no f32 holds.
fn sharp_temperatures_stay_finite<B: Backend>() {
    let device = B::Device::default();
    let rows = || Tensor::<Autodiff<B>, 2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
    let (a, b) = (rows().require_grad(), rows());
    let scale = || Tensor::<Autodiff<B>, 1>::from_floats([1e4], &device);
    let read =
        |tensor: Tensor<Autodiff<B>, 1>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let losses = info_nce(a.clone(), b.clone(), scale());
    close("matched", 1e-6, &read(losses.clone()), &[0.0, 0.0]);
    let gradients = losses.sum().backward();
    let found: Vec<f64> = a.grad(&gradients).unwrap().into_data().iter().collect();
    close("matched: gradient", 1e-6, &found, &[0.0; 4]);
    let losses = info_nce(a.clone(), b.clone().flip([0]), scale());
    close("mismatched", 1e-6, &read(losses), &[1e4, 1e4]);
    let bias = Tensor::<Autodiff<B>, 1>::from_floats([0.0], &device);
    let losses = sigmoid_pairs(a.clone(), b.clone().flip([0]), scale(), bias);
    close("sigmoid", 1e-6, &read(losses), &[1e4 + 2f64.ln(), 1e4 + 2f64.ln()]);
}

/// Frozen inputs are left out of the backward step.
fn only_what_is_needed<B: Backend>() {
    let mut numbers = Numbers::new(24);
    let device = B::Device::default();
    let floats = [numbers.floats([6, 4]), numbers.floats([6, 4])];
    let [a, b] = floats.map(|data| Tensor::<Autodiff<B>, 2>::from_data(data, &device));
    let scale = Tensor::<Autodiff<B>, 1>::from_floats([1.5], &device);
    let [all_a, all_b] = [&a, &b].map(|tensor| tensor.clone().require_grad());
    let all_scale = scale.clone().require_grad();
    let all = info_nce(all_a.clone(), all_b.clone(), all_scale.clone()).sum().backward();
    let read = |tensor: Tensor<B, 2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let leaf = b.clone().require_grad();
    let alone = info_nce(a.clone(), leaf.clone(), scale.clone()).sum().backward();
    close("b", 1e-6, &read(leaf.grad(&alone).unwrap()), &read(all_b.grad(&all).unwrap()));
    let leaf = scale.require_grad();
    let alone = info_nce(a, b, leaf.clone()).sum().backward();
    let [found, expected] = [leaf.grad(&alone), all_scale.grad(&all)]
        .map(|gradient| gradient.unwrap().into_data().iter::<f64>().collect::<Vec<_>>());
    close("scale", 1e-6, &found, &expected);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(25);
    let floats = [numbers.floats([20, 6]), numbers.floats([20, 6]), one(0.5)];
    gradients_agree::<Flex, _>(Check::BF16, &Pairs { loss: PairLoss::Softmax }, &floats, &[]);
    let floats = [numbers.floats([20, 6]), numbers.floats([20, 6]), one(0.5), one(-1.0)];
    gradients_agree::<Flex, _>(Check::BF16, &Pairs { loss: PairLoss::Sigmoid }, &floats, &[]);
}

/// Two unit pairs: similarities are `scale` on the diagonal and 0 beside it.
#[test]
fn by_hand() {
    let device = Default::default();
    let rows = || Tensor::<Flex, 2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
    let one = |value: f32| Tensor::<Flex, 1>::from_floats([value], &device);
    let read = |tensor: Tensor<Flex, 1>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let softplus = |x: f64| x.exp().ln_1p();
    close("softmax", 1e-6, &read(info_nce(rows(), rows(), one(2.0))), &[softplus(-2.0); 2]);
    let expected = softplus(-1.0) + softplus(-1.0);
    let found = read(sigmoid_pairs(rows(), rows(), one(2.0), one(-1.0)));
    close("sigmoid", 1e-6, &found, &[expected; 2]);
}
