use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(
    activated_agrees_with_the_reference,
    gated_agrees_with_the_reference,
    extremes_stay_finite,
);

/// Every activation with a bias; some without.
fn activated_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (index, activation) in Activation::ALL.into_iter().enumerate() {
        // Odd sizes; more rows than a slice of the bias gradient; one value.
        for shape in [[2, 3, 33], [1, 130, 7], [1, 1, 1]] {
            let width = shape[2];
            let floats = [numbers.floats(shape), numbers.floats([width])];
            let kernel = Activate { activation, bias: true };
            agrees::<B, _>(&kernel, &floats, &[]);
        }
        if index % 3 == 1 {
            let kernel = Activate { activation, bias: false };
            gradients_agree::<B, _>(Check::F32, &kernel, &[numbers.floats([5, 67])], &[]);
        }
    }
}

fn gated_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(2);
    for activation in [Activation::Silu, Activation::Gelu, Activation::Sigmoid] {
        let kernel = Gated { activation };
        for shape in [[3, 5, 34], [1, 1, 2], [2, 70, 256]] {
            let floats = [numbers.floats(shape)];
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

/// Where exponentials over- and underflow.
fn extremes_stay_finite<B: Backend>() {
    let x = [-1e30f32, -1e4, -89.0, -30.0, -12.0, -0.0, 12.0, 30.0, 89.0, 1e4, 1e30];
    let x = TensorData::new(x.to_vec(), [1, 11]);
    for activation in Activation::ALL {
        let kernel = Activate { activation, bias: false };
        gradients_agree::<B, _>(Check::F32, &kernel, std::slice::from_ref(&x), &[]);
    }
}

/// The bias gradient is summed over all parts of the rows.
#[test]
fn many_rows() {
    let mut numbers = Numbers::new(3);
    let kernel = Activate { activation: Activation::Gelu, bias: true };
    let floats = [numbers.floats([1031, 48]), numbers.floats([48])];
    gradients_agree::<Flex, _>(Check::F32, &kernel, &floats, &[]);
    let kernel = Gated { activation: Activation::GeluTanh };
    gradients_agree::<Flex, _>(Check::F32, &kernel, &[numbers.floats([1031, 48])], &[]);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(4);
    let kernel = Activate { activation: Activation::Gelu, bias: true };
    let floats = [numbers.floats([6, 40]), numbers.floats([40])];
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[]);
    let kernel = Gated { activation: Activation::Silu };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &[numbers.floats([6, 40])], &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    let x = Tensor::<Flex, 2>::from_floats([[1.0, -3.0, 2.0, 5.0]], &device);
    let bias = Tensor::<Flex, 1>::from_floats([1.0, 1.0, -3.0, 0.0], &device);
    let out = activate(x.clone(), Some(bias), Activation::Relu);
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [2.0, 0.0, 0.0, 5.0]);
    // The first half gates the second.
    let out = gated(x, Activation::Relu);
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [2.0, 0.0]);
}

#[test]
#[should_panic(expected = "the bias has 3 values for a width of 4")]
fn a_bias_must_fit() {
    let device = Default::default();
    let x = Tensor::<Flex, 2>::zeros([2, 4], &device);
    activate(x, Some(Tensor::zeros([3], &device)), Activation::Gelu);
}
