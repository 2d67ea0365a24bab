//! Tokens that a generator put in the place of others are told from those that stood there:
//! ELECTRA, <https://arxiv.org/abs/2003.10555>.
//!
//! The generator is a smaller backbone where the model has one; otherwise the model itself, all
//! weights shared (the paper's section 3.2): one model learns both.

use crate::{
    Masked, ObjectiveError,
    losses::{masked_mean, sigmoid_cross_entropy},
    masked::uploaded,
    score::score_ids,
    signs::with_token_signs,
};
use burn::tensor::{Distribution, IndexingUpdateOp, Int, Tensor, TensorData};
use kiln_core::{Backend, Loss, Sign, StepContext, Targets, TokenModel, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of telling replaced tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replaced {
    /// Which tokens are hidden and replaced.
    pub masked: Masked,
    /// The weight of telling them beside predicting them.
    pub weight: f64,
}

impl Default for Replaced {
    /// The published settings.
    fn default() -> Self {
        Self { masked: Masked { ratio: 0.15, ..Masked::default() }, weight: 50.0 }
    }
}

impl Replaced {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            let problem = format!("is {}; expected 0 or more", self.weight);
            return Err(ObjectiveError { key: "replaced.weight", problem });
        }
        self.masked.validate()
    }

    /// The mean loss of hidden tokens, and of telling which of all were replaced; a model without a
    /// head for the latter counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let device = model.device(batch);
        let nothing = || Loss::nothing(&device);
        let Targets::Ids { ids, .. } = model.targets(batch) else { return nothing() };
        let layout = model.layout(batch);
        let (view, chosen) = self.masked.hide(model, batch, context);
        let count = chosen.iter().filter(|chosen| **chosen).count();
        if count == 0 {
            return nothing();
        }
        let guessed = match model.propose(batch, view.clone()) {
            Some(guessed) => guessed,
            None => model.encode(batch, view).values,
        };
        let [rows, tokens, _] = guessed.dims();
        let told = score_ids(model, guessed.clone(), ids.clone(), &chosen, false);

        let new = guessed_ids(model, guessed, ids.clone(), &chosen);
        let replaced = new.clone().not_equal(ids);
        let Some(exchanged) = model.with_ids(batch, new) else { return nothing() };
        let seen = model.encode(&exchanged, View::default());
        let Some(doubts) = model.judge(seen.values.clone()) else { return nothing() };

        let mut ignored = vec![true; rows * tokens];
        for row in 0..rows {
            for unit in layout.units(row, false) {
                ignored[row * tokens..][unit].fill(false);
            }
        }
        let ignored = uploaded::<B>(ignored, &layout, &device);
        let surprise = sigmoid_cross_entropy(doubts.clone(), replaced.clone().float());
        let (judged, _) = masked_mean(surprise, Some(ignored.clone()));
        let loss = Loss::new(told.value + judged.mul_scalar(self.weight), told.count);
        if !context.observe {
            return loss;
        }
        let right = doubts.greater_elem(0.0).equal(replaced.clone()).float();
        let share = masked_mean(right.detach(), Some(ignored.clone())).0;
        let (gone, _) = masked_mean(replaced.float(), Some(ignored));
        let chance = gone.neg().add_scalar(1.0);
        with_token_signs(loss, &seen)
            .with_sign(Sign::Accuracy, share)
            .with_sign(Sign::ChanceAccuracy, chance)
    }
}

/// A batch's ids, `[batch, tokens]`, with others in the place of those chosen: drawn by the scores of
/// what a model makes of its tokens, `[batch, tokens, width]`.
pub(crate) fn guessed_ids<B: Backend, M: TokenModel<B>>(
    model: &M,
    values: Tensor<B, 3>,
    ids: Tensor<B, 2, Int>,
    chosen: &[bool],
) -> Tensor<B, 2, Int> {
    let [rows, tokens, width] = values.dims();
    let device = values.device();
    let at: Vec<i64> = (0..chosen.len()).filter(|at| chosen[*at]).map(|at| at as i64).collect();
    let count = at.len();
    if count == 0 {
        return ids;
    }
    let at = Tensor::<B, 1, Int>::from_data(TensorData::new(at, [count]), &device);
    let picked = values.detach().reshape([rows * tokens, width]).select(0, at.clone());
    let scores = model.decode(picked.unsqueeze_dim(0)).detach();
    // The largest score after Gumbel noise.
    let noise = Tensor::random(scores.shape(), Distribution::Uniform(1e-9, 1.0), &device);
    let drawn = (scores - noise.log().neg().log()).argmax(2).reshape([count]);
    let flat = ids.reshape([rows * tokens]);
    let old = flat.clone().select(0, at.clone());
    let new = flat.select_assign(0, at, drawn - old, IndexingUpdateOp::Add);
    new.reshape([rows, tokens])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MaskedKind,
        toy::{Ids, Table, context},
    };
    use burn_flex::Flex;
    use kiln_core::{Layout, Seed};

    /// What is hidden is always guessed to be 2, which nobody takes to be another's three times in
    /// four.
    fn table() -> Table<3> {
        Table(vec![[0.0; 3], [0.0; 3], [3f32.ln(), 0.0, 0.0], [0.0, 0.0, 50.0]])
    }

    #[test]
    fn all_that_is_no_separator_or_padding_is_judged() {
        let mut batch = Ids::<Flex>::new(&[[2, 1, 2, 1, 0]]);
        let fixed = Some(vec![true, false, false, false, false]);
        batch.layout = Layout { lengths: Some(vec![4]), fixed, ..batch.layout };
        // The last two: one is guessed right, and so not replaced, one wrong.
        let masked = Masked { ratio: 0.6, kind: MaskedKind::Tail, ..Masked::default() };
        let loss = |weight| {
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { observe: true, ..context(&mut rng) };
            let replaced = Replaced { masked: masked.clone(), weight };
            replaced.validate().unwrap();
            replaced.loss(&table(), &batch, &mut context)
        };
        let told = loss(0.0);
        assert_eq!((told.value.into_scalar(), told.count), (25.0, 2));
        let both = loss(2.0);
        let judged = (2f32.ln() + 4f32.ln() + (4.0f32 / 3.0).ln()) / 3.0;
        let found = both.value.into_scalar();
        assert!((found - 25.0 - 2.0 * judged).abs() < 1e-4, "{found}");
        let sign = |wanted| {
            let found = both.signs.iter().find(|(sign, _)| *sign == wanted).unwrap();
            found.1.clone().into_scalar()
        };
        // Two of three are judged right, as many as were not replaced.
        assert!((sign(Sign::Accuracy) - 2.0 / 3.0).abs() < 1e-6);
        assert!((sign(Sign::ChanceAccuracy) - 2.0 / 3.0).abs() < 1e-6);
        assert!(Replaced { masked, weight: -1.0 }.validate().is_err());
    }

    #[test]
    fn ids_are_drawn_where_they_were_chosen() {
        let batch = Ids::<Flex>::new(&[[0, 1], [1, 0]]);
        let hide = Tensor::from_data([[false, true], [true, true]], &Default::default());
        let values = table().encode(&batch, View::hiding(hide)).values;
        let new = guessed_ids(&table(), values, batch.ids, &[false, true, true, true]);
        assert_eq!(new.into_data().iter::<i64>().collect::<Vec<_>>(), [0, 2, 2, 2]);
    }
}
