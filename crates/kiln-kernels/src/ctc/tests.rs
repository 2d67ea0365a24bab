use super::*;
use crate::testing::{Check, Numbers, agrees, close, gradients_agree, outputs_agree};
use burn::{backend::Autodiff, tensor::TensorData};
use burn_flex::Flex;

crate::on_every_backend!(
    agrees_with_the_reference,
    long_sequences_lose_no_digits,
    as_pytorch,
    what_fits_no_alignment,
    a_class_ruled_out,
);

fn ints(values: Vec<i64>) -> TensorData {
    let count = values.len();
    TensorData::new(values, [count])
}

/// Lengths from none to all, repeated labels, a blank in the middle of the classes; what lies past
/// a target is no label.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(31);
    for (batch, frames, classes, labels, blank) in
        [(1, 1, 2, 1, 0), (4, 9, 5, 3, 2), (5, 12, 3, 6, 0), (2, 3, 150, 2, 149)]
    {
        let logits = [numbers.floats([batch, frames, classes])];
        let mut targets = vec![-1i64; batch * labels];
        let (mut frame_lengths, mut target_lengths) = (Vec::new(), Vec::new());
        for item in 0..batch {
            let length = if item == 0 { labels } else { numbers.below(labels + 1) };
            for target in &mut targets[item * labels..item * labels + length] {
                // Any class but the blank.
                *target = ((blank + 1 + numbers.below(classes - 1)) % classes) as i64;
            }
            target_lengths.push(length as i64);
            frame_lengths.push(if item == 1 { frames / 2 } else { frames } as i64);
        }
        let targets = TensorData::new(targets, [batch, labels]);
        let ints = [targets, ints(frame_lengths), ints(target_lengths)];
        for zero_infinity in [true, false] {
            let kernel = Ctc { blank, zero_infinity };
            agrees::<B, _>(&kernel, &logits, &ints);
        }
    }
}

/// Hundreds of frames: logarithms of likelihoods are in the hundreds, the gradient is below one.
fn long_sequences_lose_no_digits<B: Backend>() {
    let mut numbers = Numbers::new(32);
    let (frames, classes, labels) = (300, 6, 40);
    let logits = [numbers.floats([1, frames, classes])];
    let targets: Vec<i64> = (0..labels).map(|_| 1 + numbers.below(classes - 1) as i64).collect();
    let targets = TensorData::new(targets, [1, labels]);
    let ints = [targets, ints(vec![frames as i64]), ints(vec![labels as i64])];
    let kernel = Ctc { blank: 0, zero_infinity: false };
    gradients_agree::<B, _>(Check::F32, &kernel, &logits, &ints);
}

/// Losses and gradients by torch.nn.functional.ctc_loss of torch.nn.functional.log_softmax: two
/// labels, a repeated one within fewer frames, an empty target.
fn as_pytorch<B: Backend>() {
    let device = B::Device::default();
    let logits = [
        [
            [0.84, 0.91, 0.14, -0.76],
            [-0.76, -0.96, -0.28, 0.66],
            [0.66, 0.99, 0.41, -0.54],
            [-0.54, -1.0, -0.54, 0.42],
            [0.42, 0.99, 0.65, -0.29],
        ],
        [
            [0.99, 0.41, -0.54, -1.0],
            [-1.0, -0.54, 0.42, 0.99],
            [0.99, 0.65, -0.29, -0.96],
            [-0.96, -0.75, 0.15, 0.91],
            [0.91, 0.84, -0.01, -0.85],
        ],
        [
            [0.65, -0.29, -0.96, -0.75],
            [-0.75, 0.15, 0.91, 0.84],
            [0.84, -0.01, -0.85, -0.91],
            [-0.91, -0.13, 0.76, 0.96],
            [0.96, 0.27, -0.66, -0.99],
        ],
    ];
    let logits = Tensor::<Autodiff<B>, 3>::from_floats(logits, &device).require_grad();
    let losses = ctc_loss(
        logits.clone(),
        Tensor::from_ints([[1, 2], [3, 3], [2, 1]], &device),
        Tensor::from_ints([5, 4, 3], &device),
        Tensor::from_ints([2, 2, 0], &device),
        0,
        false,
    );
    let found: Vec<f64> = losses.clone().into_data().iter().collect();
    close("losses", 1e-6, &found, &[3.767_559_5, 2.504_826_3, 3.799_745]);
    let gradients = losses.sum().backward();
    let found: Vec<f64> = logits.grad(&gradients).unwrap().into_data().iter().collect();
    #[rustfmt::skip]
    let expected = [
        -0.0569813, -0.1950881, 0.1792086, 0.0728608, -0.2011765, -0.404828, 0.0596282, 0.5463763,
        -0.0196061, -0.0049395, -0.0622298, 0.0867754, -0.1465393, 0.0257206, -0.3773133, 0.4981321,
        -0.1616185, 0.3913384, -0.3385266, 0.1088067, -0.3405192, 0.292661, 0.113184, -0.0653258,
        0.0524632, 0.1128521, 0.2947354, -0.4600507, -0.5283263, 0.3338382, 0.1304065, 0.0640816,
        0.0847068, 0.1049373, 0.2581042, -0.4477483, 0.0, 0.0, 0.0, 0.0,
        -0.4556675, 0.2126314, 0.1088053, 0.1342307, -0.9265929, 0.1805523, 0.3860707, 0.3599699,
        -0.4399982, 0.2393532, 0.1033313, 0.0973137, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    ];
    close("gradient", 1e-6, &found, &expected);
}

/// Three labels, two of them the same, need four frames; none fit into no frames, but nothing does.
fn what_fits_no_alignment<B: Backend>() {
    let device = B::Device::default();
    let logits = Numbers::new(33).floats([4, 4, 3]);
    let logits = Tensor::<Autodiff<B>, 3>::from_data(logits, &device).require_grad();
    let losses = |zero_infinity| {
        let targets = Tensor::from_ints([[1, 1, 2], [1, 1, 2], [1, 0, 0], [0, 0, 0]], &device);
        let frame_lengths = Tensor::from_ints([4, 3, 0, 0], &device);
        let target_lengths = Tensor::from_ints([3, 3, 1, 0], &device);
        ctc_loss(logits.clone(), targets, frame_lengths, target_lengths, 0, zero_infinity)
    };
    for zero_infinity in [true, false] {
        let losses = losses(zero_infinity);
        let found: Vec<f64> = losses.clone().into_data().iter().collect();
        let instead = if zero_infinity { 0.0 } else { f64::INFINITY };
        assert!(found[0].is_finite() && found[0] > 0.0, "one alignment");
        assert_eq!(found[1..], [instead, instead, 0.0]);
        let gradients = losses.sum().backward();
        let found: Vec<f64> = logits.grad(&gradients).unwrap().into_data().iter().collect();
        assert!(found[..12].iter().all(|value| value.is_finite() && *value != 0.0));
        assert!(found[12..].iter().all(|&value| value == 0.0));
    }
}

/// A class whose logit is negative infinity, among the labels and beside them.
fn a_class_ruled_out<B: Backend>() {
    let device = B::Device::default();
    let frame = [0.0, f32::NEG_INFINITY, 0.0];
    let logits = Tensor::<Autodiff<B>, 3>::from_floats([[frame; 2]; 2], &device).require_grad();
    let losses = ctc_loss(
        logits.clone(),
        Tensor::from_ints([[2], [1]], &device),
        Tensor::from_ints([2, 2], &device),
        Tensor::from_ints([1, 1], &device),
        0,
        false,
    );
    // Label and label, blank and label, label and blank: three of four.
    let found: Vec<f64> = losses.clone().into_data().iter().collect();
    assert!((found[0] + 0.75f64.ln()).abs() < 1e-6 && found[1] == f64::INFINITY);
    let gradients = losses.sum().backward();
    let found: Vec<f64> = logits.grad(&gradients).unwrap().into_data().iter().collect();
    let third = 1.0 / 6.0;
    let expected = [third, 0.0, -third, third, 0.0, -third, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    close("gradient", 1e-5, &found, &expected);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(34);
    let logits = [numbers.floats([2, 8, 5])];
    let targets = TensorData::new(vec![1i64, 2, 3, 4, 4, 1], [2, 3]);
    let ints = [targets, ints(vec![8, 7]), ints(vec![3, 2])];
    let kernel = Ctc { blank: 0, zero_infinity: false };
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &logits, &ints);
}

/// The kernel of the backward step against its own reference.
#[test]
fn backward_agrees_with_its_reference() {
    let mut numbers = Numbers::new(35);
    let logits = numbers.floats([2, 6, 4]);
    let targets = TensorData::new(vec![1i64, 2, 3, 3], [2, 2]);
    let ints = [targets, ints(vec![6, 4]), ints(vec![2, 2])];
    let log_sum_exps: Vec<f32> = logits
        .iter::<f32>()
        .collect::<Vec<_>>()
        .chunks(4)
        .map(|frame| frame.iter().map(|x| x.exp()).sum::<f32>().ln())
        .collect();
    let floats = [logits, TensorData::new(log_sum_exps, [2, 6]), numbers.floats([2])];
    outputs_agree::<Flex, _>(Check::F32, &CtcBackward { blank: 0 }, &floats, &ints);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_label_out_of_range_is_a_bug() {
    let device = Default::default();
    let one = || Tensor::<Flex, 1, Int>::from_ints([1], &device);
    let targets = Tensor::<Flex, 2, Int>::from_ints([[3]], &device);
    let _ = ctc_loss(Tensor::<Flex, 3>::zeros([1, 1, 3], &device), targets, one(), one(), 0, true);
}
