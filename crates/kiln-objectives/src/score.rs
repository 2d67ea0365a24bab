//! Predictions a token against what the tokens stand for.

use crate::{
    diagnostics::{baseline_of_ids, mean_of},
    losses::{accuracy, cross_entropy, difference, huber, masked_mean},
};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Backend, Diagnostic, Loss, PredictTokens, TokenTargets};
use kiln_kernels::{eval_mode, gather_tokens};

/// Mean squared error where targets are values (Huber's with a `delta`), cross-entropy where they are
/// ids; with `collect_metrics` also the baseline loss and the accuracy.
///
/// # Shapes
/// - decoded: `[batch, tokens, target width]`, or `[batch, tokens, vocabulary]`
/// - ignore: `[batch, tokens]`, true where a token is not scored
pub(crate) fn score<B: Backend>(
    decoded: Tensor<B, 3>,
    targets: TokenTargets<B>,
    ignore: Option<Tensor<B, 2, Bool>>,
    delta: Option<f64>,
    collect_metrics: bool,
) -> Loss<B> {
    let [batch, tokens, outputs] = decoded.dims();
    match targets {
        TokenTargets::Values { values, mask_missing } => {
            let ignore =
                ignore.map(|mask| mask.unsqueeze_dim::<3>(2).expand([batch, tokens, outputs]));
            let ignore = match (mask_missing, ignore) {
                (Some(missing), Some(ignore)) => Some(missing.bool_or(ignore)),
                (missing, ignore) => missing.or(ignore),
            };
            let error = |prediction: Tensor<B, 3>| {
                let difference = difference(prediction, values.clone(), ignore.as_ref());
                match delta {
                    Some(delta) => huber(difference, delta),
                    None => difference.square(),
                }
            };
            let (value, count) = masked_mean(error(decoded), ignore.clone());
            let loss = Loss::new(value, count);
            if !collect_metrics {
                return loss;
            }
            let guess = error(mean_of(values.clone(), ignore.clone()));
            loss.with_diagnostic(Diagnostic::BaselineLoss, masked_mean(guess, ignore).0)
        }
        TokenTargets::Ids { ids } => {
            let rows = batch * tokens;
            let (ids, ignore) = (ids.reshape([rows]), ignore.map(|mask| mask.reshape([rows])));
            let logits = decoded.reshape([rows, outputs]);
            let (value, count) = cross_entropy(logits.clone(), ids.clone(), ignore.clone());
            let loss = Loss::new(value, count);
            if !collect_metrics {
                return loss;
            }
            loss.with_diagnostic(
                Diagnostic::BaselineLoss,
                baseline_of_ids(ids.clone(), ignore.clone()),
            )
            .with_diagnostic(Diagnostic::Accuracy, accuracy(logits.detach(), ids, ignore))
        }
    }
}

/// A token head of a model, counted from 0.
pub(crate) struct TokenHead<'a, B: Backend, T> {
    pub model: &'a dyn PredictTokens<B, T>,
    pub head: usize,
}

impl<B: Backend, T> Clone for TokenHead<'_, B, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend, T> Copy for TokenHead<'_, B, T> {}

impl<'a, B: Backend, T> TokenHead<'a, B, T> {
    /// The first head whose targets are ids, and the ids, `[batch, tokens]`; `None` where the batch
    /// has none.
    pub(crate) fn of_ids(
        model: &'a dyn PredictTokens<B, T>,
        batch: &T,
    ) -> Option<(Self, Tensor<B, 2, Int>)> {
        let targets = model.targets(batch).into_iter().enumerate();
        targets.into_iter().find_map(|(head, targets)| match targets {
            TokenTargets::Ids { ids } => Some((Self { model, head }, ids)),
            TokenTargets::Values { .. } => None,
        })
    }

    /// The negative log-likelihood of an id for each token, `[tokens, width]` and `[tokens]` to
    /// `[tokens]`.
    pub(crate) fn nll(&self, hidden: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        self.model.token_nll(self.head, hidden, ids)
    }

    /// Logits of tokens, `[tokens, width]` to `[tokens, vocabulary]`.
    pub(crate) fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        self.model.predict(self.head, hidden.unsqueeze_dim(0)).squeeze_dim(0)
    }
}

/// The most rows whose accuracy is measured: their logits are kept.
const MEASURED_ROWS: usize = 1024;

/// Cross-entropy of the tokens chosen alone; with `collect_metrics` also the baseline loss, and the
/// accuracy of the first of them.
///
/// # Shapes
/// - values: `[batch, tokens, width]`, hidden states
/// - ids: `[batch, tokens]`
/// - chosen: `[batch, tokens]` in row-major order
pub(crate) fn score_ids<B: Backend, T>(
    head: TokenHead<'_, B, T>,
    values: Tensor<B, 3>,
    ids: Tensor<B, 2, Int>,
    chosen: &[bool],
    collect_metrics: bool,
) -> Loss<B> {
    let Some((picked, ids)) = pick(values.clone(), ids, chosen) else {
        return Loss::new(values.sum().mul_scalar(0.0), 0);
    };
    let [count, _] = picked.dims();
    let loss = Loss::new(head.nll(picked.clone(), ids.clone()).mean(), count);
    if !collect_metrics {
        return loss;
    }
    let some = count.min(MEASURED_ROWS);
    // In eval mode: measuring the head must not draw another dropout mask.
    let logits = eval_mode(|| head.logits(picked.detach().narrow(0, 0, some)));
    loss.with_diagnostic(Diagnostic::BaselineLoss, baseline_of_ids(ids.clone(), None))
        .with_diagnostic(Diagnostic::Accuracy, accuracy(logits, ids.narrow(0, 0, some), None))
}

/// The tokens that are chosen of `values` `[batch, tokens, width]` and `ids` `[batch, tokens]`, as
/// `[chosen, width]` and `[chosen]`; `None` where none is.
pub(crate) fn pick<B: Backend>(
    values: Tensor<B, 3>,
    ids: Tensor<B, 2, Int>,
    chosen: &[bool],
) -> Option<(Tensor<B, 2>, Tensor<B, 1, Int>)> {
    let [batch, tokens, width] = values.dims();
    let rows: Vec<i64> = (0..chosen.len()).filter(|at| chosen[*at]).map(|at| at as i64).collect();
    let count = rows.len();
    if count == 0 {
        return None;
    }
    let ids = ids.reshape([batch * tokens]);
    if count == batch * tokens {
        return Some((values.reshape([count, width]), ids));
    }
    let rows = TensorData::new(rows, [1, count]);
    let rows = Tensor::<B, 2, Int>::from_data(rows, &values.device());
    let long = values.reshape([1, batch * tokens, width]);
    let picked = gather_tokens(long, rows.clone()).reshape([count, width]);
    Some((picked, ids.select(0, rows.reshape([count]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn missing_values_and_ignored_tokens_are_not_counted() {
        let device = Default::default();
        let decoded = Tensor::<Flex, 3>::zeros([1, 3, 2], &device);
        let values = Tensor::from_floats([[[1.0, 9.0], [2.0, 2.0], [9.0, 9.0]]], &device);
        let missing = Tensor::<Flex, 3, Bool>::from_bool(
            [[[false, true], [false, false], [false, false]]].into(),
            &device,
        );
        let ignore = Tensor::<Flex, 2, Bool>::from_bool([[false, false, true]].into(), &device);
        let targets = TokenTargets::Values { values, mask_missing: Some(missing) };
        let loss = score(decoded, targets, Some(ignore), None, false);
        assert_eq!((loss.value.into_scalar(), loss.count), (3.0, 3));
    }

    #[test]
    fn ids_are_scored_by_cross_entropy() {
        let device = Default::default();
        let decoded = Tensor::<Flex, 3>::from_floats([[[9.0, 0.0], [0.0, 9.0]]], &device);
        let ids = Tensor::<Flex, 2, Int>::from_ints([[0, 0]], &device);
        let loss = score(decoded, TokenTargets::Ids { ids }, None, None, true);
        assert!((loss.value.into_scalar() - 4.5).abs() < 1e-3);
        let accuracy =
            loss.diagnostics.into_iter().find(|(name, _)| *name == Diagnostic::Accuracy).unwrap();
        assert_eq!(accuracy.1.into_scalar(), 0.5);
    }
}
