//! CoSENT: embeddings whose cosines are ordered as pairs are rated,
//! <https://arxiv.org/abs/2312.15185> (appendix); or whose cosines are the ratings
//! (sentence-transformers' `CosineSimilarityLoss`, <https://arxiv.org/abs/1908.10084>).

use crate::{
    ObjectiveError, ObjectiveSpec,
    info_nce::unit,
    spec::{DynModel, check_positive},
};
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::{Backend, Corruption, Diagnostic, HostBatch, Lack, Loss, Need, StepContext};
use kiln_kernels::MASK_VALUE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of training by rated pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cosent {
    /// The loss.
    pub loss: SimilarityLoss,
    /// Temperature: what differences of cosines are divided by, of CoSENT.
    pub temperature: f64,
}

/// Losses of rated pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SimilarityLoss {
    /// `ln(1 + Σ exp((cosⱼ - cosᵢ) / temperature))` over all two pairs of which the first is rated
    /// higher: only the order of ratings counts.
    #[default]
    Cosent,
    /// The mean squared error of cosines beside ratings, which are from -1 to 1.
    CosineMse,
}

impl Default for Cosent {
    fn default() -> Self {
        Self { loss: SimilarityLoss::default(), temperature: 0.05 }
    }
}

impl ObjectiveSpec for Cosent {
    type Drawn = usize;

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_positive("cosent.temperature", self.temperature)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Embeddings, Need::Ratings]
    }

    /// The group size: 2 where sequences are pairs.
    fn draw(&self, batch: &dyn HostBatch, _: &mut StepContext<'_>) -> usize {
        batch.layout().group_size
    }

    /// The loss over the rated pairs of a batch.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        group_size: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let capabilities = model.capabilities();
        let (embedder, ratings) = (capabilities.embed_groups()?, capabilities.ratings()?);
        let pairs = group_size == 2;
        let Some(ratings) = ratings.ratings(batch).filter(|_| pairs) else {
            return Ok(Loss::empty(&device));
        };
        let mut members = embedder.embeddings(batch, &Corruption::none()).into_iter().map(unit);
        let (Some(first), Some(second)) = (members.next(), members.next()) else {
            return Ok(Loss::empty(&device));
        };
        let cosines = (first * second).sum_dim(1);
        let count = ratings.len();
        // Rows are the pairs that should come before their column.
        let square = [count, count];
        let not_above: Vec<bool> =
            ratings.iter().flat_map(|one| ratings.iter().map(move |other| one <= other)).collect();
        let ordered = not_above.iter().filter(|below| !**below).count();
        let apart = cosines.clone().transpose().expand(square) - cosines.clone().expand(square);
        let not_above = TensorData::new(not_above, square);
        let not_above = Tensor::<B, 2, Bool>::from_data(not_above, &device);
        let value = match self.loss {
            SimilarityLoss::Cosent => {
                let logits = apart.clone().div_scalar(self.temperature);
                let logits = logits.mask_fill(not_above.clone(), MASK_VALUE);
                let logits = logits.reshape([1, count * count]);
                let logits = Tensor::cat(vec![Tensor::zeros([1, 1], &device), logits], 1);
                let largest = logits.clone().detach().max_dim(1);
                ((logits - largest.clone()).exp().sum_dim(1).log() + largest).reshape([1])
            }
            SimilarityLoss::CosineMse => {
                let ratings = TensorData::new(ratings, [count, 1]);
                (cosines - Tensor::from_data(ratings, &device)).square().mean()
            }
        };
        let loss = Loss::new(value, if ordered == 0 { 0 } else { count });
        if !context.collect_metrics || ordered == 0 {
            return Ok(loss);
        }
        let right = apart.detach().lower_elem(0.0).float().mask_fill(not_above, 0.0).sum();
        Ok(loss
            .with_diagnostic(Diagnostic::Accuracy, right.div_scalar(ordered as f64))
            .with_diagnostic(Diagnostic::ChanceAccuracy, Tensor::from_floats([0.5], &device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Groups, Toy, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn the_order_of_ratings_counts() {
        let device = Default::default();
        // The toy rates by the first value of each item's first sequence: 1 and 2, with cosines
        // one and zero: in the wrong order.
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]]],
            &device,
        );
        let batch = Groups { values, group_size: 2 };
        let mut rng = Seed::new(0).rng();
        let cosent = Cosent { temperature: 0.5, ..Cosent::default() };
        let loss = cosent
            .loss(
                &Toy,
                None,
                &batch,
                &mut StepContext { collect_metrics: true, ..context(&mut rng) },
            )
            .unwrap();
        assert_eq!(loss.count, 2);
        let accuracy =
            loss.diagnostics.iter().find(|(kind, _)| *kind == Diagnostic::Accuracy).unwrap();
        assert_eq!(accuracy.1.clone().into_scalar(), 0.0);
        assert!((loss.value.into_scalar() - (1.0 + 2.0f32.exp()).ln()).abs() < 1e-4);
        let mut rng = Seed::new(0).rng();
        let mse = Cosent { loss: SimilarityLoss::CosineMse, ..cosent };
        let cosine = mse.loss(&Toy, None, &batch, &mut context(&mut rng)).unwrap();
        assert!((cosine.value.into_scalar() - 2.0).abs() < 1e-5);
        assert!(Cosent { temperature: 0.0, ..mse }.validate().is_err());
    }
}
