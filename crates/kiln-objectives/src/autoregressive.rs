//! Autoregressive prediction: each token is predicted from those before it, as a next patch or a next
//! id.

use crate::{
    ObjectiveError, ObjectiveSpec,
    diagnostics::with_token_diagnostics,
    losses::sum_of_losses,
    score::{TokenHead, pick, score, score_ids},
    spec::{DynModel, check_count, check_positive},
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    AttentionVisibility, Backend, Corruption, HostBatch, Lack, Layout, Loss, Model, Need, Rng,
    StepContext, TokenTargets,
};
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the autoregressive objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Autoregressive {
    /// How many tokens ahead is predicted: the next is 1. Where neighbours are much alike, as
    /// frames of speech are, more is to be learned from further ones:
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

impl ObjectiveSpec for Autoregressive {
    type Drawn = NextTokens;

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_count("autoregressive.ahead", self.ahead)?;
        if let Some(delta) = self.huber {
            check_positive("autoregressive.huber", delta)?;
        }
        match self.prefix {
            Some([low, high]) if !(0.0 <= low && low <= high && high < 1.0) => {
                let problem =
                    format!("is [{low}, {high}]; expected ascending shares from 0 to below 1");
                Err(ObjectiveError::new("autoregressive.prefix", problem))
            }
            _ => Ok(()),
        }
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::TokenTargets, Need::Causal { ahead: self.ahead }];
        needs.extend(self.prefix.map(|_| Need::PrefixVisibility));
        needs
    }

    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> NextTokens {
        let layout = batch.layout();
        let prefix = self.prefix.map(|shares| draw_prefixes(&layout, shares, context.rng));
        NextTokens { loss_mask: predicted(&layout, prefix.as_deref(), self.ahead), prefix }
    }

    /// The mean loss of predicting token `t + ahead` from tokens `0..=t`; padding is not counted.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let NextTokens { loss_mask, prefix } = drawn;
        let attention = match prefix {
            Some(lengths) => {
                let lengths: Vec<i64> = lengths.iter().map(|length| *length as i64).collect();
                let lengths = Tensor::from_data(&lengths[..], &model.device(batch));
                AttentionVisibility::prefix(lengths)
            }
            None => AttentionVisibility::causal(),
        };
        self.loss_at(model, batch, &attention, &loss_mask, context.collect_metrics)
    }
}

/// The tokens of a batch that are predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextTokens {
    /// `[batch, tokens]` in row-major order, true where a token is predicted.
    loss_mask: Vec<bool>,
    /// The length of each sequence's prefix, where there are prefixes.
    prefix: Option<Vec<usize>>,
}

impl Autoregressive {
    /// The mean loss of predicting the tokens that `loss_mask`, `[batch, tokens]` in row-major order,
    /// has true; of several heads, the sum.
    fn loss_at<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        batch: &T,
        attention: &AttentionVisibility<B>,
        loss_mask: &[bool],
        collect_metrics: bool,
    ) -> Result<Loss<B>, Lack> {
        let capabilities = model.capabilities();
        let (encoder, heads) = (capabilities.encode()?, capabilities.predict_tokens()?);
        let encoded = encoder.encode(batch, &Corruption::none(), Some(attention));
        let [sequences, tokens, width] = encoded.dims();
        let ahead = self.ahead;
        if tokens <= ahead {
            return Ok(Loss::new(encoded.values.sum().mul_scalar(0.0), 0));
        }
        let loss_of = |(head, targets): (usize, TokenTargets<B>)| match targets {
            TokenTargets::Ids { ids } => {
                let (next, chosen) = next_ids(ids, loss_mask, ahead);
                let head = TokenHead { model: heads, head };
                score_ids(head, encoded.values.clone(), next, &chosen, collect_metrics)
            }
            TokenTargets::Values { values, mask_missing } => {
                let seen =
                    encoded.values.clone().slice([0..sequences, 0..tokens - ahead, 0..width]);
                let ignore: Vec<bool> = loss_mask
                    .chunks(tokens)
                    .flat_map(|row| row[ahead..].iter().map(|on| !on))
                    .collect();
                let ignore = TensorData::new(ignore, [sequences, tokens - ahead]);
                let ignore = Tensor::from_data(ignore, &encoded.values.device());
                let next = TokenTargets::Values {
                    values: values.narrow(1, ahead, tokens - ahead),
                    mask_missing: mask_missing.map(|mask| mask.narrow(1, ahead, tokens - ahead)),
                };
                score(heads.predict(head, seen), next, Some(ignore), self.huber, collect_metrics)
            }
        };
        let losses = heads.targets(batch).into_iter().enumerate().map(loss_of);
        let Some(loss) = losses.reduce(sum_of_losses) else {
            return Ok(Loss::empty(&model.device(batch)));
        };
        Ok(if collect_metrics { with_token_diagnostics(loss, &encoded) } else { loss })
    }
}

/// The mean loss of the next tokens that `loss_mask`, `[batch, tokens]` in row-major order, has true.
///
/// # Errors
/// When the model does not predict tokens.
pub fn next_token_loss<B: Backend, T>(
    model: &dyn Model<B, Batch = T>,
    batch: &T,
    attention: &AttentionVisibility<B>,
    loss_mask: &[bool],
    collect_metrics: bool,
) -> Result<Loss<B>, Lack> {
    Autoregressive::default().loss_at(model, batch, attention, loss_mask, collect_metrics)
}

/// Each token beside the id of that `ahead` of it, `[batch, tokens]`, and which of them have one
/// that is counted; the last of a sequence have none.
pub(crate) fn next_ids<B: Backend>(
    ids: Tensor<B, 2, Int>,
    loss_mask: &[bool],
    ahead: usize,
) -> (Tensor<B, 2, Int>, Vec<bool>) {
    let [_, tokens] = ids.dims();
    if tokens <= ahead {
        return (ids, vec![false; loss_mask.len()]);
    }
    let later = ids.clone().narrow(1, ahead, tokens - ahead);
    let next = Tensor::cat(vec![later, ids.narrow(1, 0, ahead)], 1);
    let row = |row: &[bool]| {
        let mut row = row.get(ahead..).unwrap_or_default().to_vec();
        row.resize(tokens, false);
        row
    };
    (next, loss_mask.chunks(tokens).flat_map(row).collect())
}

/// The negative log-likelihood of each next token that `loss_mask` has true, `[true tokens]` in
/// row-major order; `None` where none is, or the batch has no ids.
pub(crate) fn next_token_nll<B: Backend, T>(
    model: &DynModel<'_, B, T>,
    batch: &T,
    loss_mask: &[bool],
) -> Result<Option<Tensor<B, 1>>, Lack> {
    let capabilities = model.capabilities();
    let heads = capabilities.predict_tokens()?;
    let Some((head, ids)) = TokenHead::of_ids(heads, batch) else { return Ok(None) };
    let encoder = capabilities.encode()?;
    let hidden =
        encoder.encode(batch, &Corruption::none(), Some(&AttentionVisibility::causal())).values;
    let (next, chosen) = next_ids(ids, loss_mask, 1);
    Ok(pick(hidden, next, &chosen).map(|(picked, ids)| head.nll(picked, ids)))
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
    if let Some(mask) = &layout.loss_mask {
        chosen.iter_mut().zip(mask).for_each(|(chosen, on)| *chosen &= on);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Groups, Toy, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn predicts_the_next_token() {
        let device = Default::default();
        // The toy model passes values through, so the error is next minus current: 1, then 3.
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &device);
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default()
            .loss(&Toy, None, &Groups::from(batch), &mut context(&mut rng))
            .unwrap();
        assert_eq!((loss.value.into_scalar(), loss.count), ((1.0 + 9.0) / 2.0, 2));
    }

    #[test]
    fn one_token_has_no_next() {
        let batch = Tensor::<Flex, 3>::ones([2, 1, 1], &Default::default());
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default()
            .loss(&Toy, None, &Groups::from(batch), &mut context(&mut rng))
            .unwrap();
        assert_eq!((loss.value.into_scalar(), loss.count), (0.0, 0));
    }

    #[test]
    fn prefixes_and_questions_are_not_predicted() {
        let layout = Layout {
            lengths: Some(vec![4, 3]),
            loss_mask: Some([[true; 4], [true, true, false, true]].concat()),
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
