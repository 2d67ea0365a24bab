//! Vital diagnostics that objectives share.

use burn::tensor::{Bool, ElementConversion, Int, Tensor};
use kiln_core::Backend;
use kiln_core::{Diagnostic, Loss, Tokens};
use std::collections::BTreeMap;

/// Adds what the tokens tell: spread of the representations and dead units.
///
/// Tokens that are no padding are pooled to `[batch, width]`. The spread is the standard deviation over the batch,
/// divided by the root mean square; a unit whose deviation is below a hundredth of the median
/// root mean square counts as dead. A batch of one has no spread to speak of.
pub fn with_token_diagnostics<B: Backend>(loss: Loss<B>, tokens: &Tokens<B>) -> Loss<B> {
    let [batch, _, width] = tokens.dims();
    if batch < 2 {
        return loss;
    }
    let pooled = tokens.means().detach();
    let centred = pooled.clone() - pooled.clone().mean_dim(0);
    let deviation = centred.square().mean_dim(0).sqrt();
    let size = pooled.square().mean().sqrt().add_scalar(1e-12);
    let dead = deviation
        .clone()
        .lower(size.clone().mul_scalar(0.01).reshape([1, 1]).expand([1, width]))
        .float()
        .mean();
    loss.with_diagnostic(Diagnostic::RepresentationStd, deviation.mean() / size)
        .with_diagnostic(Diagnostic::DeadUnits, dead)
}

/// The mean of the values counted, everywhere: what a guess without looking would say.
///
/// # Shapes
/// - values, ignore and the result: the same, any rank
pub fn mean_of<B: Backend, const D: usize>(
    values: Tensor<B, D>,
    ignore: Option<Tensor<B, D, Bool>>,
) -> Tensor<B, D> {
    let shape = values.shape();
    let (mean, _) = crate::losses::masked_mean(values.detach(), ignore);
    mean.reshape([1; D]).expand(shape)
}

/// What guessing by frequency would score in cross-entropy: the entropy of what the ids counted were
/// drawn from. A batch has few of many ids, and its own entropy is far below that one: what it has
/// not seen is made up for as Chao and Shen do, <https://doi.org/10.1023/A:1026096204727>.
///
/// # Shapes
/// - ids, ignore: `[rows]`
pub fn baseline_of_ids<B: Backend>(
    ids: Tensor<B, 1, Int>,
    ignore: Option<Tensor<B, 1, Bool>>,
) -> Tensor<B, 1> {
    let device = ids.device();
    let ignored: Vec<bool> =
        ignore.map(|mask| mask.into_data().iter().collect()).unwrap_or_default();
    let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
    for (row, id) in ids.into_data().iter::<i64>().enumerate() {
        if !ignored.get(row).copied().unwrap_or(false) {
            *counts.entry(id).or_default() += 1.0;
        }
    }
    let entropy = entropy_behind(counts.values().copied());
    Tensor::from_floats([entropy.elem::<f32>()], &device)
}

/// An estimate of the entropy of what was drawn this often, in nats.
fn entropy_behind(counts: impl Iterator<Item = f64> + Clone) -> f64 {
    let total: f64 = counts.clone().sum();
    let once = counts.clone().filter(|&n| n == 1.0).count() as f64;
    // Had all been seen once, nothing would be covered.
    let covered = 1.0 - once.min(total - 1.0) / total;
    counts
        .map(|n| {
            let share = covered * n / total;
            // Over the chance that it was seen at all.
            -share * share.ln() / (1.0 - (1.0 - share).powf(total))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    type B = Flex;

    #[test]
    fn equal_inputs_have_no_spread() {
        let device = Default::default();
        let tokens = Tokens::new(Tensor::<B, 3>::ones([4, 2, 3], &device));
        let loss = with_token_diagnostics(Loss::new(Tensor::zeros([1], &device), 1), &tokens);
        let read: Vec<_> =
            loss.diagnostics.into_iter().map(|(s, v)| (s, v.into_scalar())).collect();
        assert_eq!(read, [(Diagnostic::RepresentationStd, 0.0), (Diagnostic::DeadUnits, 1.0)]);
    }

    #[test]
    fn padding_has_no_part_in_the_spread() {
        let device = Default::default();
        let values = Tensor::<B, 3>::from_floats(
            [[[1.0, 2.0], [3.0, 4.0]], [[2.0, 3.0], [9.0, -9.0]]],
            &device,
        );
        let pad = Tensor::<B, 2, Bool>::from_bool([[false, false], [false, true]].into(), &device);
        let tokens = Tokens { mask_pad: Some(pad), ..Tokens::new(values) };
        let loss = with_token_diagnostics(Loss::new(Tensor::zeros([1], &device), 1), &tokens);
        assert_eq!(loss.diagnostics[0].1.clone().into_scalar(), 0.0);
    }

    #[test]
    fn guesses() {
        let device = Default::default();
        let values = Tensor::<B, 1>::from_floats([1.0, 3.0, 100.0], &device);
        let ignore = Tensor::<B, 1, Bool>::from_bool([false, false, true].into(), &device);
        let mean = mean_of(values, Some(ignore)).into_data().to_vec::<f32>().unwrap();
        assert_eq!(mean, [2.0; 3]);
        let ids = Tensor::<B, 1, Int>::from_ints([5, 5, 9, 9], &device);
        // Both were seen twice: the chance that one would not be seen is a sixteenth.
        let expected = 2f32.ln() / (1.0 - 0.5f32.powi(4));
        assert!((baseline_of_ids(ids, None).into_scalar() - expected).abs() < 1e-6);
        let none = Tensor::<B, 1, Bool>::from_bool([true; 3].into(), &device);
        let ids = Tensor::<B, 1, Int>::from_ints([1, 2, 3], &device);
        assert_eq!(baseline_of_ids(ids, Some(none)).into_scalar(), 0.0);
    }

    /// 450 draws of 1000 ids cannot have more than ln 450 of entropy themselves.
    #[test]
    fn a_small_batch_tells_of_a_large_vocabulary() {
        let mut state = 1u64;
        let mut counts = [0.0; 1000];
        for _ in 0..450 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            counts[(state >> 33) as usize % 1000] += 1.0;
        }
        let estimate = entropy_behind(counts.into_iter().filter(|&n| n > 0.0));
        assert!((estimate - 1000f64.ln()).abs() < 0.15, "{estimate}");
    }
}
