use super::*;
use crate::testing::{Check, Numbers, gradients_agree, outputs_agree};
use burn::backend::Autodiff;
use burn::tensor::TensorData;
use burn_flex::Flex;

crate::on_every_backend!(agrees_with_the_reference, the_slope_is_an_output);

/// Shapes of `[batch, frames, channels_in, channels_out, kernel]` and their options.
fn cases() -> Vec<([usize; 5], Conv1dOptions)> {
    let plain = Conv1dOptions::default();
    let with = |stride, padding, dilation, groups| Conv1dOptions {
        stride,
        padding,
        dilation,
        groups,
        gelu: false,
    };
    vec![
        ([1, 1, 1, 1, 1], plain),
        ([2, 103, 1, 20, 10], with(5, [0, 0], 1, 1)),
        ([2, 33, 17, 19, 3], with(2, [0, 0], 1, 1)),
        ([1, 30, 8, 5, 2], with(2, [0, 0], 1, 1)),
        // Frames that no window reaches.
        ([2, 12, 3, 4, 2], with(5, [1, 0], 1, 1)),
        ([1, 3, 4, 4, 7], with(1, [3, 3], 1, 1)),
        ([2, 21, 5, 6, 3], with(3, [4, 1], 2, 1)),
        ([2, 25, 3, 4, 4], with(2, [2, 7], 4, 1)),
        ([2, 40, 12, 8, 16], with(1, [8, 7], 1, 4)),
        ([1, 23, 6, 9, 3], with(2, [1, 2], 3, 3)),
        ([2, 37, 19, 19, 31], with(1, [15, 15], 1, 19)),
        ([1, 81, 33, 33, 5], with(2, [0, 3], 3, 33)),
        ([1, 40, 3, 6, 3], with(3, [2, 2], 1, 3)),
        // Several tiles, alone and in groups.
        ([2, 150, 9, 70, 3], with(1, [1, 1], 1, 1)),
        ([2, 90, 18, 32, 5], with(2, [2, 2], 1, 2)),
    ]
}

fn floats(numbers: &mut Numbers, sizes: [usize; 5], groups: usize, bias: bool) -> Vec<TensorData> {
    let [batch, frames, channels_in, channels_out, kernel] = sizes;
    let mut floats = vec![
        numbers.floats([batch, frames, channels_in]),
        numbers.floats([channels_out, channels_in / groups, kernel]),
    ];
    if bias {
        floats.push(numbers.floats([channels_out]));
    }
    floats
}

fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (index, (sizes, options)) in cases().into_iter().enumerate() {
        let bias = index % 3 != 0;
        let floats = floats(&mut numbers, sizes, options.groups, bias);
        for gelu in [false, true] {
            let options = Conv1dOptions { gelu, ..options };
            gradients_agree::<B, _>(
                Check::F32,
                &Conv1d { options, bias, slope: gelu },
                &floats,
                &[],
            );
        }
    }
}

fn the_slope_is_an_output<B: Backend>() {
    let mut numbers = Numbers::new(2);
    for (sizes, groups) in [([2, 33, 6, 5, 3], 1), ([2, 33, 6, 4, 3], 2), ([2, 33, 6, 6, 3], 6)] {
        let options = Conv1dOptions { groups, gelu: true, ..Default::default() };
        let floats = floats(&mut numbers, sizes, groups, true);
        for slope in [false, true] {
            outputs_agree::<B, _>(Check::F32, &Conv1d { options, bias: true, slope }, &floats, &[]);
        }
    }
}

/// Several pieces of several sequences, and sizes at which products are divided among threads.
#[test]
fn long_sequences() {
    let mut numbers = Numbers::new(3);
    let cases = [
        ([2, 3000, 4, 96, 3], 2, 1),
        ([3, 700, 16, 32, 8], 1, 2),
        ([2, 1500, 20, 20, 7], 1, 20),
        ([1, 600, 96, 128, 3], 2, 1),
    ];
    for (sizes, stride, groups) in cases {
        let options =
            Conv1dOptions { stride, groups, padding: [3, 2], gelu: true, ..Default::default() };
        let floats = floats(&mut numbers, sizes, groups, true);
        let kernel = Conv1d { options, bias: true, slope: true };
        gradients_agree::<Flex, _>(Check::F32, &kernel, &floats, &[]);
    }
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(4);
    let options = Conv1dOptions { stride: 2, gelu: true, ..Default::default() };
    let floats = floats(&mut numbers, [2, 21, 6, 7, 3], 1, true);
    let kernel = Conv1d { options, bias: true, slope: true };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[]);
}

/// The backward kernel's own reference, gradient by gradient.
#[test]
fn only_what_is_needed() {
    let mut numbers = Numbers::new(5);
    for groups in [1, 2, 6] {
        let options = Conv1dOptions { stride: 2, padding: [1, 3], dilation: 2, groups, gelu: true };
        let mut floats = floats(&mut numbers, [2, 19, 6, 6, 4], groups, false);
        floats.extend([numbers.floats([2, 9, 6]), numbers.floats([2, 9, 6])]);
        for needed in
            [[true, false, false], [false, true, false], [false, false, true], [true, true, true]]
        {
            outputs_agree::<Flex, _>(Check::F32, &Conv1dBackward { options, needed }, &floats, &[]);
        }
    }
}

#[test]
fn by_hand() {
    let device = Default::default();
    // Two channels; the kernel takes the first from now and the second from two frames later.
    let x = Tensor::<Flex, 3>::from_floats(
        [[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]],
        &device,
    );
    let weight = Tensor::<Flex, 3>::from_floats([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]], &device);
    let bias = Tensor::<Flex, 1>::from_floats([0.5], &device);
    let options = Conv1dOptions { padding: [0, 1], ..Default::default() };
    let out = conv1d(x, weight, Some(bias), options).into_data().to_vec::<f32>().unwrap();
    assert_eq!(out, [31.5, 42.5, 3.5]);
}

#[test]
fn extreme_values_stay_finite() {
    let device = Default::default();
    let x = Tensor::<Autodiff<Flex>, 3>::from_floats([[[-1e18], [1e18], [0.0]]], &device);
    let x = x.require_grad();
    let weight = Tensor::from_floats([[[1.0]]], &device);
    let options = Conv1dOptions { gelu: true, ..Default::default() };
    let out = conv1d(x.clone(), weight, None, options);
    let gradient = x.grad(&out.clone().sum().backward()).unwrap();
    assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [0.0, 1e18, 0.0]);
    assert_eq!(gradient.into_data().to_vec::<f32>().unwrap(), [0.0, 1.0, 0.5]);
}

#[test]
#[should_panic(expected = "shorter than the kernel")]
fn a_sequence_shorter_than_the_kernel() {
    let device = Default::default();
    let x = Tensor::<Flex, 3>::zeros([1, 2, 1], &device);
    conv1d(x, Tensor::zeros([1, 1, 3], &device), None, Conv1dOptions::default());
}
