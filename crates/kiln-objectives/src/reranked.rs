//! Candidates of a query, each read together with it, are ordered: a head says how relevant each is,
//! and the first is to come before the others. Cross-encoders, <https://arxiv.org/abs/1901.04085>.

use crate::{
    ObjectiveError,
    losses::{cross_entropy, softplus},
    signs::with_token_signs,
};
use burn::tensor::{Int, Tensor};
use kiln_core::{Backend, Loss, Sign, StepContext, TokenModel, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the order of a query's candidates costs. Batches have the relevant one first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reranked {
    /// The cross-entropy of the relevant one among all: <https://arxiv.org/abs/2101.08751>.
    Softmax {},
    /// `ln(1 + exp(other - relevant))` of each other one: RankNet,
    /// <https://doi.org/10.1145/1102351.1102363>.
    Logistic {},
    /// Each candidate by itself, relevant or not: <https://arxiv.org/abs/1901.04085>. Scores are then
    /// log-odds, but say less of what is to come first.
    Pointwise {},
    /// `max(0, margin - relevant + other)` of each other one, with this margin: PROP,
    /// <https://arxiv.org/abs/2010.10137>.
    Hinge(f64),
}

impl Default for Reranked {
    fn default() -> Self {
        Self::Softmax {}
    }
}

impl Reranked {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Hinge(margin) if !(*margin > 0.0 && margin.is_finite()) => {
                let problem = format!("is {margin}; expected above 0");
                Err(ObjectiveError { key: "reranked.hinge", problem })
            }
            _ => Ok(()),
        }
    }

    /// The mean over the queries of a batch; one without candidates, or of a model without such a
    /// head, counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let device = model.device(batch);
        let views = model.layout(batch).views;
        if views < 2 {
            return Loss::nothing(&device);
        }
        let tokens = model.encode(batch, View::default());
        let Some(scores) = model.relevance(batch, &tokens) else { return Loss::nothing(&device) };
        let [sequences] = scores.dims();
        let queries = sequences / views;
        let scores = scores.reshape([queries, views]);
        let first = scores.clone().narrow(1, 0, 1);
        let behind = scores.clone().narrow(1, 1, views - 1) - first;
        let (value, guess) = match self {
            Self::Softmax {} => {
                let first = Tensor::<B, 1, Int>::zeros([queries], &device);
                (cross_entropy(scores, first, None).0, (views as f32).ln())
            }
            Self::Logistic {} => (softplus(behind.clone()).mean(), 2f32.ln()),
            Self::Pointwise {} => {
                let relevant = softplus(-scores.clone().narrow(1, 0, 1)).sum();
                let others = softplus(scores.narrow(1, 1, views - 1)).sum();
                let share = 1.0 / views as f32;
                let guess = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
                ((relevant + others).div_scalar((queries * views) as f64), guess)
            }
            Self::Hinge(margin) => {
                (behind.clone().add_scalar(*margin).clamp_min(0.0).mean(), *margin as f32)
            }
        };
        let loss = Loss::new(value, queries);
        if !context.observe {
            return loss;
        }
        let one = |value: f32| Tensor::from_floats([value], &device);
        let right = behind.detach().max_dim(1).lower_elem(0.0).float().mean();
        with_token_signs(loss, &tokens)
            .with_sign(Sign::GuessLoss, one(guess))
            .with_sign(Sign::Accuracy, right)
            .with_sign(Sign::ChanceAccuracy, one(1.0 / views as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, Views, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn losses_by_hand() {
        let device = Default::default();
        // The toy takes the first value of a sequence for its score: the first query's relevant
        // candidate is ahead of one and behind the other, the second's is ahead of both.
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0]], [[0.0]], [[3.0]], [[2.0]], [[0.0]], [[0.0]]],
            &device,
        );
        let batch = Views { values: values.clone(), views: 3 };
        let loss = |reranked: Reranked| {
            let mut rng = Seed::new(0).rng();
            let context = &mut StepContext { observe: true, ..context(&mut rng) };
            let loss = reranked.loss(&Toy, &batch, context);
            let sign = |wanted| {
                let found = loss.signs.iter().find(|(sign, _)| *sign == wanted);
                found.unwrap().1.clone().into_scalar()
            };
            assert_eq!(loss.count, 2);
            (loss.value.clone().into_scalar(), sign(Sign::Accuracy), sign(Sign::GuessLoss))
        };
        let close = |found: (f32, f32, f32), value: f32, guess: f32| {
            assert!((found.0 - value).abs() < 1e-5, "{found:?} is not {value}");
            assert!(found.1 == 0.5 && (found.2 - guess).abs() < 1e-6, "{found:?}");
        };
        let e = |x: f32| x.exp();
        let softmax = (1.0 + e(-1.0) + e(2.0)).ln() + (1.0 + 2.0 * e(-2.0)).ln();
        close(loss(Reranked::default()), softmax / 2.0, 3f32.ln());
        let logistic = (1.0 + e(-1.0)).ln() + (1.0 + e(2.0)).ln() + 2.0 * (1.0 + e(-2.0)).ln();
        close(loss(Reranked::Logistic {}), logistic / 4.0, 2f32.ln());
        let pointwise = 0.5 * ((1.0 + e(-1.0)).ln() + (1.0 + e(-2.0)).ln() + (1.0 + e(3.0)).ln())
            + 0.5 * 3.0 * 2f32.ln();
        let guess = 3f32.ln() - 2.0 / 3.0 * 2f32.ln();
        close(loss(Reranked::Pointwise {}), pointwise / 3.0, guess);
        close(loss(Reranked::Hinge(1.5)), (0.5 + 3.5) / 4.0, 1.5);
        assert!(Reranked::Hinge(0.0).validate().is_err());
        let mut rng = Seed::new(0).rng();
        let alone = Reranked::default().loss(&Toy, &values.into(), &mut context(&mut rng));
        assert_eq!(alone.count, 0);
    }
}
