//! Texts with grades: those with good ones become likelier than those with bad ones. Pretraining
//! with human preferences, <https://arxiv.org/abs/2302.08582>.

use crate::{
    ObjectiveError,
    autoregressive::{next_ids, predicted},
    score::{losses_of, pick},
    signs::with_token_signs,
};
use burn::tensor::{Tensor, TensorData};
use kiln_core::{Backend, Loss, StepContext, Targets, TokenModel, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the grade of a text changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Graded {
    /// Texts graded lower than this are left out.
    Filtered(f64),
    /// Each text counts `exp(grade / temperature)` times: reward-weighted regression,
    /// <https://dl.acm.org/doi/10.1145/1273496.1273590>.
    Weighted(f64),
    /// Texts graded lower become unlikely: <https://arxiv.org/abs/1908.04319>.
    Unlikely(Unlikely),
}

/// Which texts become unlikely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlikely {
    /// Those that are graded lower.
    pub below: f64,
    /// What each of their tokens counts beside one of the others.
    #[serde(default = "crate::one")]
    pub weight: f64,
}

/// The least loss of a token that is to become unlikely: a surer one has no more to lose.
const SUREST: f64 = 1e-4;

impl Graded {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let (key, found, fine, expected) = match self {
            Self::Filtered(least) => ("graded.filtered", least, least.is_finite(), "a number"),
            Self::Weighted(temperature) => {
                let fine = *temperature > 0.0 && temperature.is_finite();
                ("graded.weighted", temperature, fine, "above 0")
            }
            Self::Unlikely(Unlikely { weight, .. }) => {
                let fine = *weight >= 0.0 && weight.is_finite();
                ("graded.unlikely.weight", weight, fine, "0 or more")
            }
        };
        if fine {
            return Ok(());
        }
        Err(ObjectiveError { key, problem: format!("is {found}; expected {expected}") })
    }

    /// How much a text of a grade counts as what is to become likely, and as what is not.
    fn weights(&self, grade: f64) -> [f64; 2] {
        match self {
            Self::Filtered(least) => [f64::from(u8::from(grade >= *least)), 0.0],
            Self::Weighted(temperature) => [(grade / temperature).exp(), 0.0],
            Self::Unlikely(Unlikely { below, weight }) if grade < *below => [0.0, *weight],
            Self::Unlikely(_) => [1.0, 0.0],
        }
    }

    /// The weighted mean over the tokens of a batch; one without grades or ids counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let device = model.device(batch);
        let nothing = || Loss::nothing(&device);
        let layout = model.layout(batch);
        let (Some(grades), Targets::Ids { ids, .. }) = (model.grades(batch), model.targets(batch))
        else {
            return nothing();
        };
        let encoded = model.encode(batch, View::causal());
        let (next, chosen) = next_ids(ids, &predicted(&layout, None, 1), 1);
        let weights = |side: usize| {
            let of = |at: usize| grades.get(at / layout.tokens).copied().unwrap_or(0.0);
            let chosen = (0..chosen.len()).filter(|at| chosen[*at]);
            chosen.map(|at| self.weights(f64::from(of(at)))[side]).collect::<Vec<f64>>()
        };
        let (likely, unlikely) = (weights(0), weights(1));
        let all: f64 = likely.iter().chain(&unlikely).sum();
        let picked = pick(encoded.values.clone(), next, &chosen);
        let losses = picked.map(|(values, ids)| losses_of(model, values, ids));
        let Some(losses) = losses.filter(|_| all > 0.0 && all.is_finite()) else {
            return nothing();
        };
        let count = likely.iter().zip(&unlikely).filter(|(a, b)| **a + **b > 0.0).count();
        let upload = |weights: Vec<f64>| {
            let weights: Vec<f32> = weights.into_iter().map(|one| (one / all) as f32).collect();
            let length = [weights.len()];
            Tensor::<B, 1>::from_data(TensorData::new(weights, length), &device)
        };
        let mut value = (losses.clone() * upload(likely)).sum();
        if unlikely.iter().any(|weight| *weight > 0.0) {
            // -ln(1 - p), of a token whose loss is -ln p.
            let gone = losses.clamp_min(SUREST).neg().exp().neg().log1p().neg();
            value = value + (gone * upload(unlikely)).sum();
        }
        let loss = Loss::new(value, count);
        if context.observe { with_token_signs(loss, &encoded) } else { loss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_weigh() {
        assert_eq!(Graded::Filtered(0.5).weights(0.5), [1.0, 0.0]);
        assert_eq!(Graded::Filtered(0.5).weights(0.4), [0.0, 0.0]);
        assert_eq!(Graded::Weighted(2.0).weights(2.0), [1f64.exp(), 0.0]);
        let unlikely = Graded::Unlikely(Unlikely { below: 0.0, weight: 0.5 });
        assert_eq!((unlikely.weights(-1.0), unlikely.weights(0.0)), ([0.0, 0.5], [1.0, 0.0]));
        assert!(Graded::Weighted(0.0).validate().is_err());
        assert!(unlikely.validate().is_ok());
    }
}
