use super::*;
use crate::testing::{Check, Numbers, close, gradients_agree, outputs_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(
    agrees_with_the_reference,
    sums_agree_with_the_reference,
    shifted_rows_lose_no_digits
);

/// Odd sizes, one row, one column.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (rows, width) in [(1, 1), (1, 7), (5, 1), (3, 33), (130, 48), (2, 515)] {
        for (centred, bias) in [(true, true), (true, false), (false, false)] {
            let norm = Norm { centred, bias, epsilon: 1e-5 };
            let mut floats = vec![numbers.floats([rows, width]), numbers.floats([width])];
            if bias {
                floats.push(numbers.floats([width]));
            }
            outputs_agree::<B, _>(Check::F32, &norm, &floats, &[]);
            // A single value is normalised to a constant: its gradient is rounding alone.
            if width == 1 {
                continue;
            }
            gradients_agree::<B, _>(Check::F32, &norm, &floats, &[]);
        }
    }
}

/// The sum and its norm in one pass, and the two steps of the graph against a norm of a sum.
fn sums_agree_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(4);
    for (rows, width) in [(1, 7), (5, 1), (3, 33), (130, 48), (2, 515)] {
        for (centred, bias) in [(true, true), (true, false), (false, false)] {
            let norm = Norm { centred, bias, epsilon: 1e-5 };
            let mut floats = vec![numbers.floats([rows, width]), numbers.floats([rows, width])];
            floats.extend((0..1 + usize::from(bias)).map(|_| numbers.floats([width])));
            outputs_agree::<B, _>(Check::F32, &AddNorm { norm: norm.clone() }, &floats, &[]);
            if width > 1 {
                let found = gradients_of_sum::<B>(&norm, &floats, true);
                let expected = gradients_of_sum::<B>(&norm, &floats, false);
                for (found, expected) in found.iter().zip(&expected) {
                    close("layer_norm_add", 1e-5, found, expected);
                }
            }
        }
    }
}

/// The gradients of x, the residual, weight and bias for a loss of both the norm and the sum.
fn gradients_of_sum<B: Backend>(norm: &Norm, floats: &[TensorData], fused: bool) -> Vec<Vec<f64>> {
    type A<B> = Autodiff<B>;
    let device = Default::default();
    let [x, residual] = [0, 1]
        .map(|index| Tensor::<A<B>, 2>::from_data(floats[index].clone(), &device).require_grad());
    let affine: Vec<_> = floats[2..]
        .iter()
        .map(|data| Tensor::<A<B>, 1>::from_data(data.clone(), &device).require_grad())
        .collect();
    let (weight, bias) = (affine[0].clone(), affine.get(1).cloned());
    let (normed, sum) = if fused {
        call_add(norm.clone(), x.clone(), residual.clone(), weight, bias)
    } else {
        let sum = x.clone() + residual.clone();
        (call(norm.clone(), sum.clone(), weight, bias), sum)
    };
    // Not linear in either, so that no gradient is constant.
    let mut gradients = (normed.clone() * normed * sum).sum().backward();
    let read = |data: TensorData| data.iter::<f64>().collect();
    let inputs = [x, residual].map(|x| read(x.grad_remove(&mut gradients).unwrap().into_data()));
    let affine = affine.iter().map(|x| read(x.grad_remove(&mut gradients).unwrap().into_data()));
    inputs.into_iter().chain(affine).collect()
}

/// The variance is taken of centred values, not as a difference of large squares.
fn shifted_rows_lose_no_digits<B: Backend>() {
    let mut numbers = Numbers::new(2);
    let x: Vec<f32> = (0..64).map(|_| 1024.0 + numbers.normal() as f32).collect();
    let x = TensorData::new(x, [2, 32]);
    let norm = Norm { centred: true, bias: false, epsilon: 1e-5 };
    let check = Check { tolerance: 1e-4, ..Check::F32 };
    outputs_agree::<B, _>(check, &norm, &[x, numbers.floats([32])], &[]);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(3);
    let norm = Norm { centred: true, bias: true, epsilon: 1e-5 };
    let floats = [numbers.floats([6, 40]), numbers.floats([40]), numbers.floats([40])];
    gradients_agree::<Flex, _>(Check::BF16, &norm, &floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    let x = Tensor::<Flex, 2>::from_floats([[1.0, 3.0]], &device);
    let weight = Tensor::<Flex, 1>::from_floats([1.0, 2.0], &device);
    let bias = Tensor::<Flex, 1>::from_floats([0.5, 0.0], &device);
    let out = layer_norm(x.clone(), weight.clone(), Some(bias), 0.0);
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [-0.5, 2.0]);
    // The root mean square of 1 and 3 is sqrt(5).
    let out = rms_norm(x, weight, 0.0).into_data().to_vec::<f32>().unwrap();
    assert!((out[0] - 0.447_213_6).abs() < 1e-6 && (out[1] - 2.683_281_6).abs() < 1e-6);
}
