//! Losses that leave ignored positions out of numerator and denominator.

use burn::tensor::{Bool, ElementConversion, Int, Tensor};
use kiln_core::{Backend, Diagnostic, Loss};
use kiln_kernels::CrossEntropyOptions;

/// The mean of `values` where `ignore` is false, and how many positions that were.
///
/// # Shapes
/// - values, ignore: the same, any rank
/// - mean: `[1]`; zero when nothing is counted
pub fn masked_mean<B: Backend, const D: usize>(
    values: Tensor<B, D>,
    ignore: Option<Tensor<B, D, Bool>>,
) -> (Tensor<B, 1>, usize) {
    let Some(ignore) = ignore else {
        let count = values.shape().num_elements();
        return if count == 0 {
            (Tensor::zeros([1], &values.device()), 0)
        } else {
            (values.mean(), count)
        };
    };
    let count = ignore.clone().bool_not().int().sum().into_scalar().elem::<i64>() as usize;
    // Multiplying by zero would keep a NaN; filling does not.
    let sum = values.mask_fill(ignore, 0.0).sum();
    (sum.div_scalar(count.max(1) as f64), count)
}

/// Huber's loss of each error: squared (halved) up to `delta`, straight beyond it, so that a few
/// values out of all proportion do not outweigh the rest.
pub fn huber<B: Backend, const D: usize>(error: Tensor<B, D>, delta: f64) -> Tensor<B, D> {
    let size = error.abs();
    let near = size.clone().clamp_max(delta);
    // delta * (|e| - delta / 2) beyond, e² / 2 below: one formula for both.
    near.clone() * (size - near.mul_scalar(0.5))
}

/// `ln(1 + eˣ)`, without overflow; of `-x`, what it costs that `sigmoid(x)` is not 1.
pub fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p()
}

/// The cross-entropy of `sigmoid(scores)` against `wanted`, each between 0 and 1, in nats.
pub fn sigmoid_cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    wanted: Tensor<B, D>,
) -> Tensor<B, D> {
    softplus(scores.clone()) - scores * wanted
}

/// Prediction minus target, zero where ignored. Missing targets may be NaN: under `ignore` none of
/// them enters a gradient.
pub fn difference<B: Backend, const D: usize>(
    prediction: Tensor<B, D>,
    target: Tensor<B, D>,
    ignore: Option<&Tensor<B, D, Bool>>,
) -> Tensor<B, D> {
    let difference = prediction - target;
    match ignore {
        Some(ignore) => difference.mask_fill(ignore.clone(), 0.0),
        None => difference,
    }
}

/// Mean cross-entropy of `logits` `[rows, classes]` against `classes` `[rows]`, over the rows
/// where `ignore` `[rows]` is false; returns the mean `[1]` and the rows counted.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    classes: Tensor<B, 1, Int>,
    ignore: Option<Tensor<B, 1, Bool>>,
) -> (Tensor<B, 1>, usize) {
    let losses = kiln_kernels::cross_entropy(logits, classes, CrossEntropyOptions::default());
    masked_mean(losses, ignore)
}

/// The share of rows of `logits` `[rows, classes]` whose largest entry is the class, over the rows
/// where `ignore` is false; `[1]`.
pub fn accuracy<B: Backend>(
    logits: Tensor<B, 2>,
    classes: Tensor<B, 1, Int>,
    ignore: Option<Tensor<B, 1, Bool>>,
) -> Tensor<B, 1> {
    let best = logits.argmax(1).squeeze_dim::<1>(1);
    masked_mean(best.equal(classes).float(), ignore).0
}

/// A loss and its baseline loss, times a weight.
pub(crate) fn scaled_loss<B: Backend>(loss: Loss<B>, weight: f64) -> Loss<B> {
    let diagnostics = loss.diagnostics.into_iter().map(|(kind, value)| match kind {
        Diagnostic::BaselineLoss => (kind, value.mul_scalar(weight)),
        _ => (kind, value),
    });
    Loss {
        value: loss.value.mul_scalar(weight),
        count: loss.count,
        diagnostics: diagnostics.collect(),
    }
}

/// The sum of two losses and of their baseline losses; other diagnostics, and the count, are the
/// first one's.
pub(crate) fn sum_of_losses<B: Backend>(mut sum: Loss<B>, other: Loss<B>) -> Loss<B> {
    sum.value = sum.value + other.value.clone();
    let baseline = |loss: &Loss<B>| {
        loss.diagnostics.iter().position(|(kind, _)| *kind == Diagnostic::BaselineLoss)
    };
    match (baseline(&sum), baseline(&other)) {
        (Some(own), Some(others)) => {
            sum.diagnostics[own].1 =
                sum.diagnostics[own].1.clone() + other.diagnostics[others].1.clone();
        }
        // The baseline of one alone would say nothing of the sum.
        (Some(own), None) => drop(sum.diagnostics.remove(own)),
        (None, _) => {}
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    type B = Flex;

    #[test]
    fn ignored_positions_leave_both_sums() {
        let device = Default::default();
        let values = Tensor::<B, 1>::from_floats([1.0, f32::NAN, 3.0], &device);
        let ignore = Tensor::<B, 1, Bool>::from_bool([false, true, false].into(), &device);
        let (mean, count) = masked_mean(values, Some(ignore));
        assert_eq!((mean.into_scalar(), count), (2.0, 2));
    }

    #[test]
    fn huber_by_hand() {
        let device = Default::default();
        let error = huber(Tensor::<B, 1>::from_floats([0.5, -3.0], &device), 1.0);
        assert_eq!(error.into_data().to_vec::<f32>().unwrap(), [0.125, 2.5]);
    }

    #[test]
    fn sigmoids_by_hand_and_without_overflow() {
        let device = Default::default();
        let scores = Tensor::<B, 1>::from_floats([0.0, 200.0, -200.0, 1.0], &device);
        let wanted = Tensor::from_floats([1.0, 0.0, 0.0, 0.25], &device);
        let found = sigmoid_cross_entropy(scores, wanted).into_data().to_vec::<f32>().unwrap();
        let expected = [2f32.ln(), 200.0, 0.0, (1.0 + 1f32.exp()).ln() - 0.25];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn nothing_counted_is_zero() {
        let device = Default::default();
        let ignore = Tensor::<B, 1, Bool>::from_bool([true].into(), &device);
        let (mean, count) = masked_mean(Tensor::<B, 1>::ones([1], &device), Some(ignore));
        assert_eq!((mean.into_scalar(), count), (0.0, 0));
    }

    #[test]
    fn uniform_logits_score_log_classes() {
        let device = Default::default();
        let classes = Tensor::<B, 1, Int>::from_ints([0, 3], &device);
        let (loss, count) = cross_entropy(Tensor::<B, 2>::zeros([2, 4], &device), classes, None);
        assert!((loss.into_scalar() - 4f32.ln()).abs() < 1e-6);
        assert_eq!(count, 2);
    }
}
