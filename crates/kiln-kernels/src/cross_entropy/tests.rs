use super::{linear::Linear, *};
use crate::testing::{Check, Numbers, agrees, close, gradients_agree, outputs_agree};
use burn::{
    backend::Autodiff,
    tensor::{DType, TensorData},
};
use burn_flex::Flex;

crate::on_every_backend!(
    agrees_with_the_reference,
    linear_agrees_with_the_reference,
    all_rows_ignored,
    extreme_logits,
    only_what_is_needed,
);

const IGNORED: i64 = -100;

/// Each option alone, and all together.
fn options() -> [CrossEntropyOptions; 5] {
    let plain = CrossEntropyOptions::default();
    let ignore_index = Some(IGNORED);
    [
        plain,
        CrossEntropyOptions { ignore_index, ..plain },
        CrossEntropyOptions { label_smoothing: 0.1, ..plain },
        CrossEntropyOptions { z_loss: 1e-2, ..plain },
        CrossEntropyOptions { ignore_index, label_smoothing: 0.3, z_loss: 1e-3 },
    ]
}

/// Targets, a third of them ignored where that is allowed.
fn targets(
    numbers: &mut Numbers,
    rows: usize,
    classes: usize,
    options: &CrossEntropyOptions,
) -> TensorData {
    let target = |_| match options.ignore_index {
        Some(index) if numbers.below(3) == 0 => index,
        _ => numbers.below(classes) as i64,
    };
    TensorData::new((0..rows).map(target).collect::<Vec<_>>(), [rows])
}

/// One row, one class, odd sizes, more classes than are looked at together.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(11);
    for (rows, classes) in [(1, 1), (1, 7), (9, 33), (3, 2051)] {
        for options in options() {
            let logits = [numbers.floats([rows, classes])];
            let targets = [targets(&mut numbers, rows, classes, &options)];
            let kernel = CrossEntropy { options };
            outputs_agree::<B, _>(Check::F32, &kernel, &logits, &targets);
            // A single class has probability one: its gradient is rounding alone.
            if classes > 1 {
                gradients_agree::<B, _>(Check::F32, &kernel, &logits, &targets);
            }
        }
    }
}

/// Blocks of rows and of classes, both layouts of the weight.
fn linear_agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(12);
    let small = self::options().map(|options| (7, 5, 33, options));
    let [plain, ignoring, .., all] = self::options();
    let kept = [(1, 1, 2, ignoring), (130, 8, 70, all), (520, 3, 2050, plain)];
    let made_again = [(530, 2, 2100, ignoring)];
    for (rows, width, classes, options) in small.into_iter().chain(kept).chain(made_again) {
        for (transposed, bias) in [(false, true), (true, false)] {
            let weight = if transposed { [classes, width] } else { [width, classes] };
            let mut floats = vec![numbers.floats([rows, width]), numbers.floats(weight)];
            if bias {
                floats.push(numbers.floats([classes]));
            }
            let targets = [targets(&mut numbers, rows, classes, &options)];
            let kernel = Linear { options, transposed, bias, keep: false };
            agrees::<B, _>(&kernel, &floats, &targets);
        }
    }
}

fn all_rows_ignored<B: Backend>() {
    let mut numbers = Numbers::new(14);
    let options = options()[4];
    let targets = [TensorData::new(vec![IGNORED; 6], [6])];
    let logits = [numbers.floats([6, 5])];
    gradients_agree::<B, _>(Check::F32, &CrossEntropy { options }, &logits, &targets);
    let floats = [numbers.floats([6, 5]), numbers.floats([5, 9]), numbers.floats([9])];
    let linear = Linear { options, transposed: false, bias: true, keep: false };
    agrees::<B, _>(&linear, &floats, &targets);
}

/// Classes that are ruled out, and logits whose exponentials no f32 holds.
fn extreme_logits<B: Backend>() {
    let device = B::Device::default();
    let rows = [
        [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY],
        [1e4, -1e4, 9e3],
        [-3e30, -3e30, 3e30],
        [f32::NEG_INFINITY, -2e4, -2e4],
    ];
    let logits = Tensor::<Autodiff<B>, 2>::from_floats(rows, &device).require_grad();
    let targets = Tensor::from_ints([1, 1, 2, 2], &device);
    let losses = cross_entropy(logits.clone(), targets, CrossEntropyOptions::default());
    let found: Vec<f64> = losses.clone().into_data().iter().collect();
    close("losses", 1e-6, &found, &[0.0, 2e4, 0.0, 2f64.ln()]);
    let gradients = losses.sum().backward();
    let found: Vec<f64> = logits.grad(&gradients).unwrap().into_data().iter().collect();
    let expected = [0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, -0.5];
    // The digits of a log-sum-exp of 2e4 after the point are few.
    close("gradient", 1e-3, &found, &expected);
}

/// A frozen output layer is left out of the backward step.
fn only_what_is_needed<B: Backend>() {
    let mut numbers = Numbers::new(15);
    let device = B::Device::default();
    let [hidden, weight] = [[4, 3], [3, 6]]
        .map(|shape| Tensor::<Autodiff<B>, 2>::from_data(numbers.floats(shape), &device));
    let targets = Tensor::from_ints([1, 0, 5, 2], &device);
    let gradients = |hidden: &Tensor<Autodiff<B>, 2>, weight: &Tensor<Autodiff<B>, 2>| {
        let (hidden, weight, targets) = (hidden.clone(), weight.clone(), targets.clone());
        let options = CrossEntropyOptions::default();
        linear_cross_entropy(hidden, weight, false, None, targets, options).sum().backward()
    };
    let (both_hidden, both_weight) = (hidden.clone().require_grad(), weight.clone().require_grad());
    let both = gradients(&both_hidden, &both_weight);
    let read = |tensor: Tensor<B, 2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let (found, expected) = {
        let leaf = hidden.clone().require_grad();
        let alone = gradients(&leaf, &weight);
        (leaf.grad(&alone).unwrap(), both_hidden.grad(&both).unwrap())
    };
    close("hidden alone", 1e-6, &read(found), &read(expected));
    let leaf = weight.clone().require_grad();
    let alone = gradients(&hidden, &leaf);
    let expected = both_weight.grad(&both).unwrap();
    close("weight alone", 1e-6, &read(leaf.grad(&alone).unwrap()), &read(expected));
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(16);
    let options = options()[4];
    let targets = [targets(&mut numbers, 12, 40, &options)];
    let logits = [numbers.floats([12, 40])];
    gradients_agree::<Flex, _>(Check::BF16, &CrossEntropy { options }, &logits, &targets);
    let floats = [numbers.floats([12, 8]), numbers.floats([40, 8])];
    let linear = Linear { options, transposed: true, bias: false, keep: false };
    gradients_agree::<Flex, _>(Check::BF16, &linear, &floats, &targets);
    let logits = Tensor::<Flex, 2>::from_data(logits[0].clone(), &Default::default());
    let losses = cross_entropy(
        logits.cast(DType::BF16),
        Tensor::from_data([3; 12], &Default::default()),
        options,
    );
    assert_eq!(losses.dtype(), DType::F32, "losses lose no digits");
}

/// Three classes with probabilities 1/2, 1/4 and 1/4; numbers by torch.nn.functional.cross_entropy
/// (label_smoothing=0.1) and by hand.
#[test]
fn by_hand() {
    let device = Default::default();
    let logits = Tensor::<Flex, 2>::from_floats([[2f32.ln(), 0.0, 0.0], [0.0, 1.0, -1.0]], &device);
    let targets = Tensor::<Flex, 1, Int>::from_ints([1, 0], &device);
    let losses = |options| {
        let losses = cross_entropy(logits.clone(), targets.clone(), options);
        losses.into_data().iter::<f64>().collect::<Vec<_>>()
    };
    let plain = CrossEntropyOptions::default();
    // The second row's log-sum-exp is ln(1 + e + 1/e).
    let second = (1.0 + 1f64.exp() + (-1f64).exp()).ln();
    close("plain", 1e-6, &losses(plain), &[4f64.ln(), second]);
    let smoothed = CrossEntropyOptions { label_smoothing: 0.1, ..plain };
    close("smoothed", 1e-6, &losses(smoothed), &[1.363_189_5, 1.407_605_9]);
    let z_loss = CrossEntropyOptions { z_loss: 0.5, ..plain };
    let expected = [4f64.ln() + 0.5 * 4f64.ln().powi(2), second + 0.5 * second * second];
    close("z-loss", 1e-6, &losses(z_loss), &expected);
}

#[test]
#[should_panic(expected = "target 3 of 3 classes")]
fn a_target_out_of_range_is_a_bug() {
    let device = Default::default();
    let logits = Tensor::<Flex, 2>::zeros([1, 3], &device);
    let targets = Tensor::<Flex, 1, Int>::from_ints([3], &device);
    let _ = cross_entropy(logits, targets, CrossEntropyOptions::default());
}
