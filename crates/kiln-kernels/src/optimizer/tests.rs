use super::*;
use crate::testing::{Check, Numbers, outputs_agree};
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(
    adamw_agrees_with_the_reference,
    ema_agrees_with_the_reference,
    shared_tensors_are_left_alone,
);

const SETTINGS: AdamW = AdamW { betas: [0.9, 0.999], epsilon: 1e-8, count: 3, gradient_scale: 0.5 };

/// Weight, gradient, mean and square, which no square is below zero.
fn state(numbers: &mut Numbers, values: usize) -> [TensorData; 4] {
    let square: Vec<f32> = (0..values).map(|_| numbers.normal().powi(2) as f32).collect();
    let [weight, gradient, mean] = [0; 3].map(|_| numbers.floats([values]));
    [weight, gradient, mean, TensorData::new(square, [values])]
}

/// Parameters of many sizes, each with a rate and a decay of its own.
fn adamw_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    let lengths = [1, 7, 40_000, 129, 16_384];
    let floats: Vec<TensorData> =
        lengths.into_iter().flat_map(|length| state(&mut numbers, length)).collect();
    let rates = (0..5).map(|index| [0.01 * f64::from(index), 0.1]).collect();
    let kernel = AdamWUpdate { settings: SETTINGS, rates };
    outputs_agree::<B, _>(Check::F32, &kernel, &floats, &[]);
}

fn ema_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(2);
    let floats: Vec<TensorData> =
        [3, 3, 50_001, 50_001].into_iter().map(|length| numbers.floats([length])).collect();
    outputs_agree::<B, _>(Check::F32, &Ema { decay: 0.99 }, &floats, &[]);
}

/// Only what nobody else holds is updated in place.
fn shared_tensors_are_left_alone<B: Backend>() {
    let device = Default::default();
    let one = Tensor::<B, 1>::ones([5], &device);
    let held = one.clone() * 2.0;
    let step = AdamWStep {
        weight: held.clone(),
        gradient: one.clone(),
        mean: one.clone() * 0.0,
        square: one.clone() * 0.0,
        rate: 0.5,
        decay: 0.0,
    };
    let states = adamw(AdamW { count: 1, gradient_scale: 1.0, ..SETTINGS }, vec![step]);
    let averages = ema(vec![held.clone()], vec![one], 0.5);
    let read = |tensor: &Tensor<B, 1>| tensor.to_data().to_vec::<f32>().unwrap();
    assert!(read(&states[0].weight).iter().all(|value| (value - 1.5).abs() < 1e-5));
    assert!(read(&averages[0]).iter().all(|value| (value - 1.5).abs() < 1e-5));
    assert_eq!(read(&held), [2.0; 5]);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(3);
    let kernel = AdamWUpdate { settings: SETTINGS, rates: vec![[0.01, 0.1]] };
    outputs_agree::<Flex, _>(Check::BF16, &kernel, &state(&mut numbers, 65), &[]);
}

#[test]
fn the_first_step_has_the_length_of_the_rate() {
    let device = Default::default();
    let tensor = |values: [f32; 2]| Tensor::<Flex, 1>::from_floats(values, &device);
    let step = AdamWStep {
        weight: tensor([1.0, 1.0]),
        gradient: tensor([0.5, -20.0]),
        mean: tensor([0.0; 2]),
        square: tensor([0.0; 2]),
        rate: 0.1,
        decay: 0.5,
    };
    let settings = AdamW { count: 1, gradient_scale: 1.0, ..SETTINGS };
    let state = adamw(settings, vec![step]).swap_remove(0);
    // 1 · (1 − 0.1 · 0.5) ∓ 0.1: the corrected means are g and g², so the update is a sign.
    for (found, expected) in
        [(state.weight, [0.85, 1.05]), (state.mean, [0.05, -2.0]), (state.square, [0.000_25, 0.4])]
    {
        let found = found.into_data().to_vec::<f32>().unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }
}

/// The memory of what is moved here is used again.
#[test]
fn in_place_on_the_cpu() {
    let device = Default::default();
    let tensor = || Tensor::<Flex, 1>::ones([10], &device);
    let place = |tensor: &Tensor<Flex, 1>| {
        tensor.clone().into_primitive().tensor().bytes().as_ptr() as usize
    };
    let (weight, mean, square) = (tensor(), tensor(), tensor());
    let places = [&weight, &mean, &square].map(place);
    let step = AdamWStep { weight, gradient: tensor(), mean, square, rate: 0.1, decay: 0.0 };
    let state = adamw(SETTINGS, vec![step]).swap_remove(0);
    assert_eq!([&state.weight, &state.mean, &state.square].map(place), places);
    let average = ema(vec![state.weight], vec![tensor()], 0.5).swap_remove(0);
    assert_eq!(place(&average), places[0]);
}

#[test]
#[should_panic(expected = "a parameter of 2 values and its state differ")]
fn states_must_fit() {
    let device = Default::default();
    let tensor = |values: usize| Tensor::<Flex, 1>::zeros([values], &device);
    let (weight, gradient, mean, square) = (tensor(2), tensor(2), tensor(3), tensor(2));
    adamw(SETTINGS, vec![AdamWStep { weight, gradient, mean, square, rate: 0.1, decay: 0.0 }]);
}
