use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference);

fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(5);
    for [batch, tokens, width, outputs] in
        [[1, 1, 1, 1], [3, 5, 7, 4], [40, 8, 33, 16], [2, 9, 1, 3]]
    {
        for bias in [false, true] {
            let kernel = LinearTokens { bias };
            let mut floats =
                vec![numbers.floats([batch, tokens, width]), numbers.floats([tokens, outputs])];
            floats.extend(bias.then(|| numbers.floats([outputs])));
            agrees::<B, _>(&kernel, &floats, &[]);
        }
    }
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(6);
    let floats = [numbers.floats([4, 6, 5]), numbers.floats([6, 3]), numbers.floats([3])];
    gradients_agree::<Flex, _>(Check::BF16, &LinearTokens { bias: true }, &floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    let x = Tensor::<Flex, 3>::from_floats([[[1.0, 2.0], [3.0, 4.0]]], &device);
    let weight = Tensor::<Flex, 2>::from_floats([[1.0], [10.0]], &device);
    let bias = Tensor::<Flex, 1>::from_floats([100.0], &device);
    let out = linear_tokens(x, weight, Some(bias));
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [131.0, 142.0]);
}
