use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference);

fn inputs(rows: usize, sizes: [usize; 3], bias: bool) -> Vec<TensorData> {
    let [inputs, rank, outputs] = sizes;
    let mut numbers = Numbers::new(11);
    let mut floats = vec![numbers.floats([rows, inputs]), numbers.floats([inputs, outputs])];
    floats.extend([numbers.floats([inputs, rank]), numbers.floats([rank, outputs])]);
    floats.extend(bias.then(|| numbers.floats([outputs])));
    floats
}

fn agrees_with_the_reference<B: Backend>() {
    for (rows, sizes) in [(1, [1, 1, 1]), (5, [7, 2, 3]), (40, [33, 4, 65])] {
        for bias in [false, true] {
            let kernel = Lora { bias, scale: 0.7 };
            let floats = inputs(rows, sizes, bias);
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

#[test]
fn half_precision_is_storage() {
    let kernel = Lora { bias: true, scale: 2.0 };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &inputs(6, [8, 2, 5], true), &[]);
}

#[test]
fn the_frozen_weight_gets_no_gradient_even_if_it_asks() {
    let device = Default::default();
    let tensor = |values: [[f32; 1]; 1]| Tensor::<Autodiff<Flex>, 2>::from_floats(values, &device);
    let weight = tensor([[3.0]]).require_grad();
    let down = tensor([[5.0]]).require_grad();
    let up = tensor([[7.0]]);
    let weights =
        LoraWeights { weight: weight.clone(), bias: None, down: down.clone(), up, scale: 0.5 };
    let out = lora_linear(tensor([[2.0]]), weights);
    // 2 · 3 + 0.5 · 2 · 5 · 7
    assert_eq!(out.clone().into_scalar(), 41.0);
    let gradients = out.sum().backward();
    assert!(weight.grad(&gradients).is_none());
    assert_eq!(down.grad(&gradients).unwrap().into_scalar(), 7.0);
}
