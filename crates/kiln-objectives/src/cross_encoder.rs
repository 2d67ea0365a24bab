//! Cross-encoders: the candidates of a query, each read together with it, are ranked by a head; the
//! relevant one is to come first. <https://arxiv.org/abs/1901.04085>.

use crate::{
    ObjectiveError, ObjectiveSpec,
    diagnostics::with_token_diagnostics,
    losses::{cross_entropy, softplus},
    spec::{DynModel, check_positive},
};
use burn::tensor::{Int, Tensor};
use kiln_core::{Backend, Diagnostic, HostBatch, Lack, Loss, Need, StepContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ranking loss of a query's candidates. Batches have the relevant one first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CrossEncoder {
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

impl Default for CrossEncoder {
    fn default() -> Self {
        Self::Softmax {}
    }
}

impl ObjectiveSpec for CrossEncoder {
    type Drawn = usize;

    fn validate(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Hinge(margin) => check_positive("cross-encoder.hinge", *margin),
            Self::Softmax {} | Self::Logistic {} | Self::Pointwise {} => Ok(()),
        }
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::RankingHead]
    }

    /// The group size: how many candidates each query has.
    fn draw(&self, batch: &dyn HostBatch, _: &mut StepContext<'_>) -> usize {
        batch.layout().group_size
    }

    /// The mean over the queries of a batch.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        candidates: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let head = model.capabilities().rank()?;
        if candidates < 2 {
            return Ok(Loss::empty(&device));
        }
        let Some((scores, tokens)) = head.ranking_scores(batch) else {
            return Ok(Loss::empty(&device));
        };
        let [sequences] = scores.dims();
        let queries = sequences / candidates;
        let scores = scores.reshape([queries, candidates]);
        let first = scores.clone().narrow(1, 0, 1);
        let behind = scores.clone().narrow(1, 1, candidates - 1) - first;
        let (value, baseline) = match self {
            Self::Softmax {} => {
                let first = Tensor::<B, 1, Int>::zeros([queries], &device);
                (cross_entropy(scores, first, None).0, (candidates as f32).ln())
            }
            Self::Logistic {} => (softplus(behind.clone()).mean(), 2f32.ln()),
            Self::Pointwise {} => {
                let relevant = softplus(-scores.clone().narrow(1, 0, 1)).sum();
                let others = softplus(scores.narrow(1, 1, candidates - 1)).sum();
                let share = 1.0 / candidates as f32;
                let baseline = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
                ((relevant + others).div_scalar((queries * candidates) as f64), baseline)
            }
            Self::Hinge(margin) => {
                (behind.clone().add_scalar(*margin).clamp_min(0.0).mean(), *margin as f32)
            }
        };
        let loss = Loss::new(value, queries);
        if !context.collect_metrics {
            return Ok(loss);
        }
        let one = |value: f32| Tensor::from_floats([value], &device);
        let right = behind.detach().max_dim(1).lower_elem(0.0).float().mean();
        Ok(with_token_diagnostics(loss, &tokens)
            .with_diagnostic(Diagnostic::BaselineLoss, one(baseline))
            .with_diagnostic(Diagnostic::Accuracy, right)
            .with_diagnostic(Diagnostic::ChanceAccuracy, one(1.0 / candidates as f32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Groups, Toy, context};
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
        let batch = Groups { values: values.clone(), group_size: 3 };
        let loss = |reranked: CrossEncoder| {
            let mut rng = Seed::new(0).rng();
            let context = &mut StepContext { collect_metrics: true, ..context(&mut rng) };
            let loss = reranked.loss(&Toy, None, &batch, context).unwrap();
            let diagnostic = |wanted| {
                let found = loss.diagnostics.iter().find(|(kind, _)| *kind == wanted);
                found.unwrap().1.clone().into_scalar()
            };
            assert_eq!(loss.count, 2);
            (
                loss.value.clone().into_scalar(),
                diagnostic(Diagnostic::Accuracy),
                diagnostic(Diagnostic::BaselineLoss),
            )
        };
        let close = |found: (f32, f32, f32), value: f32, guess: f32| {
            assert!((found.0 - value).abs() < 1e-5, "{found:?} is not {value}");
            assert!(found.1 == 0.5 && (found.2 - guess).abs() < 1e-6, "{found:?}");
        };
        let e = |x: f32| x.exp();
        let softmax = (1.0 + e(-1.0) + e(2.0)).ln() + (1.0 + 2.0 * e(-2.0)).ln();
        close(loss(CrossEncoder::default()), softmax / 2.0, 3f32.ln());
        let logistic = (1.0 + e(-1.0)).ln() + (1.0 + e(2.0)).ln() + 2.0 * (1.0 + e(-2.0)).ln();
        close(loss(CrossEncoder::Logistic {}), logistic / 4.0, 2f32.ln());
        let pointwise = 0.5 * ((1.0 + e(-1.0)).ln() + (1.0 + e(-2.0)).ln() + (1.0 + e(3.0)).ln())
            + 0.5 * 3.0 * 2f32.ln();
        let guess = 3f32.ln() - 2.0 / 3.0 * 2f32.ln();
        close(loss(CrossEncoder::Pointwise {}), pointwise / 3.0, guess);
        close(loss(CrossEncoder::Hinge(1.5)), (0.5 + 3.5) / 4.0, 1.5);
        assert!(CrossEncoder::Hinge(0.0).validate().is_err());
        let mut rng = Seed::new(0).rng();
        let alone = CrossEncoder::default();
        let alone = alone.loss(&Toy, None, &Groups::from(values), &mut context(&mut rng)).unwrap();
        assert_eq!(alone.count, 0);
    }
}
