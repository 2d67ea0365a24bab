//! Contrastive embeddings with in-batch negatives: InfoNCE over the cosines of whole sequences. The
//! members of a group are told from all others of the batch: a query and its answer
//! (<https://arxiv.org/abs/2201.10005>), hard negatives beside them
//! (<https://arxiv.org/abs/2004.04906>), two towers (<https://arxiv.org/abs/2103.00020>), or two views
//! of one sequence with other dropout (SimCSE, <https://arxiv.org/abs/2104.08821>) or other masks.

use crate::{
    Masked, MaskedTokens, ObjectiveError, ObjectiveSpec,
    losses::{accuracy, cross_entropy},
    spec::{DynModel, check_positive},
};
use burn::tensor::{Int, Tensor};
use kiln_core::{Backend, Corruption, Diagnostic, HostBatch, Lack, Loss, Need, StepContext};
use kiln_kernels::info_nce;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of contrastive embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InfoNce {
    /// Temperature: what cosines are divided by, unless the model has a learned logit scale.
    pub temperature: f64,
    /// How the two views of a sequence differ, where the data says nothing of what belongs together.
    pub views: Views,
}

/// How two views of a sequence differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// By the model's dropout, drawn twice (SimCSE).
    #[default]
    Dropout,
    /// By masked tokens, drawn twice.
    Masked(Masked),
}

impl Default for InfoNce {
    fn default() -> Self {
        Self { temperature: 0.05, views: Views::Dropout }
    }
}

impl ObjectiveSpec for InfoNce {
    type Drawn = Option<Vec<MaskedTokens>>;

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_positive("info-nce.temperature", self.temperature)?;
        match &self.views {
            Views::Masked(masked) => masked.validate(),
            Views::Dropout => Ok(()),
        }
    }

    fn needs(&self) -> Vec<Need> {
        let views = match &self.views {
            Views::Dropout => Need::GroupsOrDropout,
            Views::Masked(_) => Need::GroupsOrMasking,
        };
        vec![Need::Embeddings, views]
    }

    /// The masks of two views, none where views differ by dropout; `None` where the data has groups.
    fn draw(
        &self,
        batch: &dyn HostBatch,
        context: &mut StepContext<'_>,
    ) -> Option<Vec<MaskedTokens>> {
        let layout = batch.layout();
        let mut mask = |masked: &Masked| masked.draw_tokens(&layout, context);
        (layout.group_size <= 1).then(|| match &self.views {
            Views::Dropout => Vec::new(),
            Views::Masked(masked) => vec![mask(masked), mask(masked)],
        })
    }

    /// The mean over groups of the cross-entropy of finding the other member. With two members both
    /// are looked for; with more, the second among the others of all groups.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        views: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let embedder = model.capabilities().embed_groups()?;
        let device = model.device(batch);
        let members = match views {
            None => embedder.embeddings(batch, &Corruption::none()),
            Some(masks) => {
                let view = |at: usize| masks.get(at).map(|mask| mask.corruption(&device));
                let view = |at| view(at).unwrap_or_else(Corruption::none);
                (0..2).flat_map(|at| embedder.embeddings(batch, &view(at))).collect()
            }
        };
        let mut members = members.into_iter().map(unit);
        let Some(anchors) = members.next() else { return Ok(Loss::empty(&device)) };
        let others: Vec<Tensor<B, 2>> = members.collect();
        let [groups, width] = anchors.dims();
        if groups < 2 || others.is_empty() {
            return Ok(Loss::new(anchors.sum().mul_scalar(0.0), 0));
        }
        let one = |value: f32| Tensor::<B, 1>::from_floats([value], &device);
        let fixed = || one(1.0 / self.temperature as f32);
        let scale = embedder.logit_scale().unwrap_or_else(fixed);
        let symmetric = others.len() == 1;
        // The second member of each group comes first, so that row `i` is looked for in column `i`.
        let candidates = Tensor::cat(others, 0);
        let [count, _] = candidates.dims();
        let own = Tensor::<B, 1, Int>::arange(0..groups as i64, &device);
        let logits = |anchors: Tensor<B, 2>, candidates: Tensor<B, 2>, scale: Tensor<B, 1>| {
            anchors.matmul(candidates.transpose()) * scale.unsqueeze_dim(0)
        };
        let value = if symmetric {
            info_nce(anchors.clone(), candidates.clone(), scale.clone()).mean()
        } else {
            let logits = logits(anchors.clone(), candidates.clone(), scale.clone());
            cross_entropy(logits, own.clone(), None).0
        };
        let loss = Loss::new(value, groups);
        if !context.collect_metrics {
            return Ok(loss);
        }
        // Unit vectors have a root mean square of one over the root of their width.
        let centred = anchors.clone().detach() - anchors.clone().detach().mean_dim(0);
        let deviation =
            centred.square().mean_dim(0).sqrt().mean().mul_scalar((width as f64).sqrt());
        let logits = logits(anchors.detach(), candidates.detach(), scale.detach());
        Ok(loss
            .with_diagnostic(Diagnostic::BaselineLoss, one((count as f32).ln()))
            .with_diagnostic(Diagnostic::Accuracy, accuracy(logits, own, None))
            .with_diagnostic(Diagnostic::ChanceAccuracy, one(1.0 / count as f32))
            .with_diagnostic(Diagnostic::RepresentationStd, deviation))
    }
}

/// Rows of length one, `[rows, width]`.
pub(crate) fn unit<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = x.clone().square().sum_dim(1).add_scalar(1e-16).sqrt();
    x / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Groups as Seen, Toy, context};
    use burn::tensor::TensorData;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn pairs_and_hard_negatives_by_hand() {
        let device = Default::default();
        let rows = |rows: &[[f32; 2]]| {
            let data = TensorData::new(rows.concat(), [rows.len(), 1, 2]);
            Tensor::<Flex, 3>::from_data(data, &device)
        };
        let loss = |batch: &Seen<Flex>| {
            let paired = InfoNce { temperature: 1.0, ..InfoNce::default() };
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { collect_metrics: true, ..context(&mut rng) };
            let loss = paired.loss(&Toy, None, batch, &mut context).unwrap();
            (loss.value.into_scalar(), loss.count)
        };
        // Two pairs at right angles: each finds its half among two, with cosines 1 and 0.
        let pairs = rows(&[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]);
        let (found, count) = loss(&Seen { values: pairs, group_size: 2 });
        let expected = (1.0 + (-1.0f32).exp()).ln();
        assert!((found - expected).abs() < 1e-5 && count == 2, "{found}");
        // With a negative that is the anchor itself there are two best answers of four.
        let hard = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]];
        let (found, _) = loss(&Seen { values: rows(&hard), group_size: 3 });
        let expected = (2.0 + 2.0 * (-1.0f32).exp()).ln();
        assert!((found - expected).abs() < 1e-5, "{found}");
        // One item alone has nothing to be told from.
        assert_eq!(loss(&Seen { values: rows(&[[1.0, 0.0], [1.0, 0.0]]), group_size: 2 }).1, 0);
    }

    #[test]
    fn one_sequence_is_seen_twice() {
        let device = Default::default();
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0, 0.0], [0.5, 0.1]], [[0.0, 1.0], [0.2, 1.0]]],
            &device,
        );
        let hidden = Views::Masked(Masked { ratio: 0.5, ..Masked::default() });
        let paired = InfoNce { views: hidden, ..InfoNce::default() };
        paired.validate().unwrap();
        let mut rng = Seed::new(0).rng();
        let batch = Seen { values, group_size: 1 };
        let loss = paired.loss(&Toy, None, &batch, &mut context(&mut rng)).unwrap();
        assert!(loss.value.into_scalar() < 0.1);
        assert!(InfoNce { temperature: 0.0, ..paired }.validate().is_err());
    }
}
