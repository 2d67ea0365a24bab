use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference);

fn inputs(kernel: &Linear, rows: usize, inputs: usize, outputs: &[usize]) -> Vec<TensorData> {
    let mut numbers = Numbers::new(7);
    let mut floats = vec![numbers.floats([1, rows, inputs])];
    let shape = |size| if kernel.tied { [size, inputs] } else { [inputs, size] };
    floats.extend(outputs.iter().map(|&size| numbers.floats(shape(size))));
    if kernel.bias {
        floats.extend(outputs.iter().map(|&size| numbers.floats([size])));
    }
    if kernel.residual {
        floats.push(numbers.floats([1, rows, outputs.iter().sum()]));
    }
    floats
}

fn agrees_with_the_reference<B: Backend>() {
    for (rows, features, outputs) in
        [(1, 1, vec![1]), (3, 5, vec![7]), (33, 17, vec![4, 9, 4]), (2, 64, vec![128])]
    {
        let flags = [(false, false, false), (true, false, false), (false, true, false)];
        for (bias, residual, tied) in flags.into_iter().chain([(true, true, true)]) {
            let kernel = Linear { layers: outputs.len(), bias, residual, tied };
            let floats = inputs(&kernel, rows, features, &outputs);
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

#[test]
fn half_precision_is_storage() {
    let kernel = Linear { layers: 2, bias: true, residual: true, tied: false };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &inputs(&kernel, 9, 12, &[6, 3]), &[]);
}

#[test]
fn by_hand_from_a_transposed_weight() {
    let device = Default::default();
    let x = Tensor::<Flex, 2>::from_floats([[1.0, 2.0]], &device);
    let weight = Tensor::<Flex, 2>::from_floats([[1.0, 3.0], [0.5, 0.0]], &device).transpose();
    let bias = Tensor::<Flex, 1>::from_floats([10.0, 20.0], &device);
    let residual = Tensor::<Flex, 2>::from_floats([[100.0, 200.0]], &device);
    let out = linear(x, weight, Some(bias), Some(residual));
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [117.0, 220.5]);
}

#[test]
fn frozen_weights_get_no_gradient() {
    let device = Default::default();
    let x = Tensor::<Autodiff<Flex>, 2>::from_floats([[1.0, 2.0]], &device).require_grad();
    let weight = Tensor::<Autodiff<Flex>, 2>::from_floats([[3.0], [4.0]], &device);
    let gradients = linear(x.clone(), weight.clone(), None, None).sum().backward();
    let found = x.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert_eq!(found, [3.0, 4.0]);
    assert!(weight.grad(&gradients).is_none());
}
