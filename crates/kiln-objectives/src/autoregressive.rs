//! Each token is predicted from those before it: next patch, next id.

use crate::{
    ObjectiveError, check_huber,
    score::{losses_of, pick, score, score_ids},
    signs::with_token_signs,
};
use burn::tensor::{Int, Tensor};
use kiln_core::{Backend, Layout, Loss, Rng, StepContext, Targets, TokenModel, View};
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the autoregressive objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Autoregressive {
    /// How many tokens ahead is predicted: the next is 1. Where neighbours are much alike, as
    /// frames of speech are, more is to be learnt from further ones:
    /// <https://arxiv.org/abs/1904.03240>.
    pub ahead: usize,
    /// Where targets are values: errors beyond this count straight rather than squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huber: Option<f64>,
    /// The share of a sequence whose tokens all see each other and are not predicted, drawn between
    /// these two: a prefix language model, <https://arxiv.org/abs/1910.10683>, section 3.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<[f64; 2]>,
}

impl Default for Autoregressive {
    fn default() -> Self {
        Self { ahead: 1, huber: None, prefix: None }
    }
}

impl Autoregressive {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if self.ahead == 0 {
            let problem = "is 0; expected at least 1".into();
            return Err(ObjectiveError { key: "autoregressive.ahead", problem });
        }
        check_huber("autoregressive.huber", self.huber)?;
        match self.prefix {
            Some([low, high]) if !(0.0 <= low && low <= high && high < 1.0) => {
                let problem =
                    format!("is [{low}, {high}]; expected rising shares from 0 to below 1");
                Err(ObjectiveError { key: "autoregressive.prefix", problem })
            }
            _ => Ok(()),
        }
    }

    /// The mean loss of predicting token `t + ahead` from tokens `0..=t`; padding is not counted.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let prefix = self.prefix.map(|shares| draw_prefixes(&layout, shares, context.rng));
        let counted = predicted(&layout, prefix.as_deref(), self.ahead);
        let view = View { prefix, ..View::causal() };
        self.loss_of_next(model, batch, view, &counted, context.observe)
    }

    /// The mean loss of predicting the tokens that are `counted`, `[batch, tokens]` in row-major
    /// order, from those before them as the view shows them.
    pub fn loss_of_next<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        view: View<B>,
        counted: &[bool],
        observe: bool,
    ) -> Loss<B> {
        let encoded = model.encode(batch, view);
        let [sequences, tokens, width] = encoded.dims();
        let ahead = self.ahead;
        if tokens <= ahead {
            return Loss::new(encoded.values.sum().mul_scalar(0.0), 0);
        }
        let loss = match model.targets(batch) {
            Targets::Ids { ids, .. } => {
                let (next, chosen) = next_ids(ids, counted, ahead);
                score_ids(model, encoded.values.clone(), next, &chosen, observe)
            }
            Targets::Values { values, mask_missing } => {
                let seen =
                    encoded.values.clone().slice([0..sequences, 0..tokens - ahead, 0..width]);
                let pad = encoded.mask_pad.clone();
                let pad = pad.map(|mask| mask.slice([0..sequences, ahead..tokens]));
                let next = Targets::Values {
                    values: values.narrow(1, ahead, tokens - ahead),
                    mask_missing: mask_missing.map(|mask| mask.narrow(1, ahead, tokens - ahead)),
                };
                score(model.decode(seen), next, pad, self.huber, observe)
            }
        };
        if observe { with_token_signs(loss, &encoded) } else { loss }
    }
}

/// Each token beside the id of that `ahead` of it, `[batch, tokens]`, and which of them have one
/// that is counted; the last of a sequence have none.
pub(crate) fn next_ids<B: Backend>(
    ids: Tensor<B, 2, Int>,
    counted: &[bool],
    ahead: usize,
) -> (Tensor<B, 2, Int>, Vec<bool>) {
    let [_, tokens] = ids.dims();
    if tokens <= ahead {
        return (ids, vec![false; counted.len()]);
    }
    let later = ids.clone().narrow(1, ahead, tokens - ahead);
    let next = Tensor::cat(vec![later, ids.narrow(1, 0, ahead)], 1);
    let row = |row: &[bool]| {
        let mut row = row.get(ahead..).unwrap_or_default().to_vec();
        row.resize(tokens, false);
        row
    };
    (next, counted.chunks(tokens).flat_map(row).collect())
}

/// The loss of each token that is counted, from those before it, `[counted]` in row-major order;
/// `None` where tokens are no ids, or none is counted.
pub(crate) fn losses_of_next<B: Backend, M: TokenModel<B>>(
    model: &M,
    batch: &M::Batch,
    counted: &[bool],
) -> Option<Tensor<B, 1>> {
    let Targets::Ids { ids, .. } = model.targets(batch) else { return None };
    let values = model.encode(batch, View::causal()).values;
    let (next, chosen) = next_ids(ids, counted, 1);
    let (picked, ids) = pick(values, next, &chosen)?;
    Some(losses_of(model, picked, ids))
}

/// How many tokens of each sequence are its prefix; at least one is left to predict.
fn draw_prefixes(layout: &Layout, [low, high]: [f64; 2], rng: &mut Rng) -> Vec<usize> {
    let mut draw = |sequence| {
        let length = layout.length(sequence);
        let share = low + (high - low) * rng.random::<f64>();
        ((length as f64 * share).round() as usize).min(length.saturating_sub(1))
    };
    (0..layout.batch).map(&mut draw).collect()
}

/// Which tokens are predicted from those `ahead` before them: no padding, not the first of a
/// document, none of a prefix, and those that are worth it. `[batch, tokens]` in row-major order.
pub(crate) fn predicted(layout: &Layout, prefix: Option<&[usize]>, ahead: usize) -> Vec<bool> {
    let mut chosen = Vec::with_capacity(layout.batch * layout.tokens);
    for sequence in 0..layout.batch {
        let length = layout.length(sequence);
        let first = prefix.and_then(|prefix| prefix.get(sequence)).copied().unwrap_or(0).max(ahead);
        chosen.extend((0..layout.tokens).map(|at| (first..length).contains(&at)));
    }
    for start in layout.documents.iter().flatten() {
        chosen.iter_mut().skip(*start).take(ahead).for_each(|chosen| *chosen = false);
    }
    if let Some(counted) = &layout.counted {
        chosen.iter_mut().zip(counted).for_each(|(chosen, counted)| *chosen &= counted);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn predicts_the_next_token() {
        let device = Default::default();
        // The toy model passes values through, so the error is next minus current: 1, then 3.
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &device);
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default().loss(&Toy, &batch.into(), &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), ((1.0 + 9.0) / 2.0, 2));
    }

    #[test]
    fn one_token_has_no_next() {
        let batch = Tensor::<Flex, 3>::ones([2, 1, 1], &Default::default());
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default().loss(&Toy, &batch.into(), &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), (0.0, 0));
    }

    #[test]
    fn prefixes_and_questions_are_not_predicted() {
        let layout = Layout {
            lengths: Some(vec![4, 3]),
            counted: Some([[true; 4], [true, true, false, true]].concat()),
            ..Layout::new(2, 4)
        };
        let found = predicted(&layout, Some(&[2, 0]), 1);
        assert_eq!(found, [false, false, true, true, false, true, false, false]);
        let packed = Layout { documents: Some(vec![0, 2, 4]), ..Layout::new(1, 4) };
        assert_eq!(predicted(&packed, None, 1), [false, true, false, true]);
        let prefixes = draw_prefixes(&layout, [0.5, 0.5], &mut Seed::new(0).rng());
        assert_eq!(prefixes, [2, 2]);
        let wrong = Autoregressive { prefix: Some([0.6, 0.5]), ..Autoregressive::default() };
        assert!(wrong.validate().is_err());
    }

    #[test]
    fn sequences_of_one_token_have_no_next() {
        let ids = Tensor::<burn_flex::Flex, 2, Int>::from_data([[4], [5]], &Default::default());
        let (next, chosen) = next_ids(ids, &[true, true], 1);
        assert_eq!((next.dims(), chosen), ([2, 1], vec![false, false]));
    }
}
