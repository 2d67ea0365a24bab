use super::*;
use crate::testing::{Check, Numbers, outputs_agree};

crate::on_every_backend!(agrees_with_the_reference);

fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(4);
    let floats = [1, 17, 5000, 3].map(|size| numbers.floats([size]));
    outputs_agree::<B, _>(Check::F32, &SumOfSquares, &floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    let tensor = |values: [f32; 2]| Tensor::<Flex, 1>::from_floats(values, &device);
    let sum = sum_of_squares(vec![tensor([1.0, 2.0]), tensor([3.0, 0.0])]).unwrap();
    assert_eq!(sum.into_scalar(), 14.0);
    assert!(sum_of_squares::<Flex>(Vec::new()).is_none());
}
