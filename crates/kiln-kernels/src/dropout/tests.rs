use super::*;
use crate::testing::{Check, Numbers, agrees, gradients_agree};
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference, drops_the_share_asked_for);

/// The same bits on every backend: another mask would be far off.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (index, shape) in [[1, 1, 1], [2, 3, 33], [1, 130, 7], [5, 1, 515]].into_iter().enumerate()
    {
        for p in [0.1, 0.5, 0.9, 1.0] {
            let seed = [numbers.bits(), index as u32];
            let floats = [numbers.floats(shape), numbers.floats(shape)];
            let kernel = Dropout { p, seed, residual: true };
            agrees::<B, _>(&kernel, &floats, &[]);
            let kernel = Dropout { p, seed, residual: false };
            gradients_agree::<B, _>(Check::F32, &kernel, &floats[..1], &[]);
        }
    }
}

/// Kept values are scaled, so that the mean stays.
fn drops_the_share_asked_for<B: Backend>() {
    let device = Default::default();
    let ones = Tensor::<B, 2>::ones([100, 100], &device);
    for p in [0.1, 0.5] {
        let found = dropout(ones.clone(), p, [7, 9]).into_data().to_vec::<f32>().unwrap();
        let dropped = found.iter().filter(|&&value| value == 0.0).count() as f64;
        // Five deviations.
        assert!((dropped / 1e4 - p).abs() < 5.0 * (p * (1.0 - p) / 1e4).sqrt(), "{dropped}");
        let kept = 1.0 / (1.0 - p) as f32;
        assert!(found.iter().all(|&value| value == 0.0 || (value - kept).abs() < 1e-6));
    }
    let found = dropout(ones.clone(), 1.0, [7, 9]).into_data().to_vec::<f32>().unwrap();
    assert!(found.iter().all(|&value| value == 0.0));
    let found = dropout_add(ones.clone(), ones, 0.0, [7, 9]).into_data().to_vec::<f32>().unwrap();
    assert!(found.iter().all(|&value| value == 2.0));
}

/// A value that is dropped is zero even where it is not a number.
#[test]
fn what_is_dropped_is_gone() {
    let x = Tensor::<Flex, 1>::full([1000], f32::NAN, &Default::default());
    let found = dropout(x, 0.5, [1, 2]).into_data().to_vec::<f32>().unwrap();
    let zeros = found.iter().filter(|&&value| value == 0.0).count();
    assert!((400..600).contains(&zeros));
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(2);
    let kernel = Dropout { p: 0.3, seed: [1, 2], residual: true };
    let floats = [numbers.floats([6, 40]), numbers.floats([6, 40])];
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[]);
}

/// Threads change nothing.
#[test]
fn many_rows() {
    let mut numbers = Numbers::new(3);
    let kernel = Dropout { p: 0.3, seed: [1, 2], residual: false };
    let x: TensorData = numbers.floats([1031, 48]);
    gradients_agree::<Flex, _>(Check::F32, &kernel, &[x], &[]);
}

#[test]
#[should_panic(expected = "1.5 is no probability")]
fn a_probability_must_be_one() {
    dropout(Tensor::<Flex, 1>::zeros([2], &Default::default()), 1.5, [0, 0]);
}
