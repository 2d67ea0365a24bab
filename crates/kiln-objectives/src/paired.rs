//! Sequences that belong together are told from all others of the batch, by the cosine of their
//! vectors: a query and its answer (<https://arxiv.org/abs/2201.10005>), hard negatives beside them
//! (<https://arxiv.org/abs/2004.04906>), or one sequence seen twice, with other tokens dropped
//! (SimCSE, <https://arxiv.org/abs/2104.08821>) or hidden.

use crate::{
    Masked, ObjectiveError,
    losses::{accuracy, cross_entropy},
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, Loss, Sign, StepContext, TokenModel, View};
use kiln_kernels::info_nce;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of contrastive training of whole sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Paired {
    /// What cosines are divided by.
    pub temperature: f64,
    /// What the two views of a sequence are, where the data says nothing of what belongs together.
    pub views: Views,
}

/// How a sequence is seen twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// As it is, with the model's dropout drawn twice.
    #[default]
    Dropout,
    /// With tokens hidden, drawn twice.
    Hidden(Masked),
}

impl Default for Paired {
    fn default() -> Self {
        Self { temperature: 0.05, views: Views::Dropout }
    }
}

impl Paired {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let problem = format!("is {}; expected above 0", self.temperature);
            return Err(ObjectiveError { key: "paired.temperature", problem });
        }
        match &self.views {
            Views::Hidden(masked) => masked.validate(),
            Views::Dropout => Ok(()),
        }
    }

    /// The mean over items of what it costs to find the other half. With two sequences an item both
    /// halves are looked for; with more, the second of an item among the others of all items.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let views = model.layout(batch).views.max(1);
        let (anchors, others) = if views == 1 {
            let mut see = || {
                let view = match &self.views {
                    Views::Dropout => View::default(),
                    Views::Hidden(masked) => masked.hide(model, batch, context).0,
                };
                unit(model.pooled(&model.encode(batch, view)))
            };
            (see(), see())
        } else {
            split(unit(model.pooled(&model.encode(batch, View::default()))), views)
        };
        let [items, width] = anchors.dims();
        let [candidates, _] = others.dims();
        if items < 2 {
            return Loss::new(anchors.sum().mul_scalar(0.0), 0);
        }
        let device = anchors.device();
        let others_an_item = candidates / items;
        let own = (0..items).map(|item| (item * others_an_item) as i64).collect::<Vec<_>>();
        let own = Tensor::<B, 1, Int>::from_data(TensorData::new(own, [items]), &device);
        let scores = |anchors: Tensor<B, 2>, others: Tensor<B, 2>| {
            anchors.matmul(others.transpose()).div_scalar(self.temperature)
        };
        let value = if others_an_item == 1 {
            let scale = Tensor::from_floats([1.0 / self.temperature as f32], &device);
            info_nce(anchors.clone(), others.clone(), scale).mean()
        } else {
            cross_entropy(scores(anchors.clone(), others.clone()), own.clone(), None).0
        };
        let loss = Loss::new(value, items);
        if !context.observe {
            return loss;
        }
        let one = |value: f32| Tensor::from_floats([value], &device);
        let chance = 1.0 / candidates as f32;
        // Unit vectors have a root mean square of one over the root of their width.
        let spread = (anchors.clone().detach() - anchors.clone().detach().mean_dim(0))
            .square()
            .mean_dim(0)
            .sqrt()
            .mean()
            .mul_scalar((width as f64).sqrt());
        let found = accuracy(scores(anchors.detach(), others.detach()), own, None);
        loss.with_sign(Sign::GuessLoss, one((candidates as f32).ln()))
            .with_sign(Sign::Accuracy, found)
            .with_sign(Sign::ChanceAccuracy, one(chance))
            .with_sign(Sign::Spread, spread)
    }
}

/// The first vector of each item, `[items, width]`, and all others, item by item: of
/// `[items * views, width]`.
pub(crate) fn split<B: Backend>(x: Tensor<B, 2>, views: usize) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let [rows, width] = x.dims();
    let items = rows / views;
    let x = x.reshape([items, views, width]);
    let first = x.clone().narrow(1, 0, 1).reshape([items, width]);
    (first, x.narrow(1, 1, views - 1).reshape([items * (views - 1), width]))
}

/// Rows of length one.
pub(crate) fn unit<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = x.clone().square().sum_dim(1).add_scalar(1e-16).sqrt();
    x / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, Views as Seen, context};
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
            let paired = Paired { temperature: 1.0, ..Paired::default() };
            let mut rng = Seed::new(0).rng();
            let loss =
                paired.loss(&Toy, batch, &mut StepContext { observe: true, ..context(&mut rng) });
            (loss.value.into_scalar(), loss.count)
        };
        // Two pairs at right angles: each finds its half among two, with cosines 1 and 0.
        let pairs = rows(&[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]);
        let (found, count) = loss(&Seen { values: pairs, views: 2 });
        let expected = (1.0 + (-1.0f32).exp()).ln();
        assert!((found - expected).abs() < 1e-5 && count == 2, "{found}");
        // With a negative that is the anchor itself there are two best answers of four.
        let hard = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]];
        let (found, _) = loss(&Seen { values: rows(&hard), views: 3 });
        let expected = (2.0 + 2.0 * (-1.0f32).exp()).ln();
        assert!((found - expected).abs() < 1e-5, "{found}");
        // One item alone has nothing to be told from.
        assert_eq!(loss(&Seen { values: rows(&[[1.0, 0.0], [1.0, 0.0]]), views: 2 }).1, 0);
    }

    #[test]
    fn one_sequence_is_seen_twice() {
        let device = Default::default();
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0, 0.0], [0.5, 0.1]], [[0.0, 1.0], [0.2, 1.0]]],
            &device,
        );
        let hidden = Views::Hidden(Masked { ratio: 0.5, ..Masked::default() });
        let paired = Paired { views: hidden, ..Paired::default() };
        paired.validate().unwrap();
        let mut rng = Seed::new(0).rng();
        let batch = Seen { values, views: 1 };
        let loss = paired.loss(&Toy, &batch, &mut context(&mut rng));
        assert!(loss.value.into_scalar() < 0.1);
        assert!(Paired { temperature: 0.0, ..paired }.validate().is_err());
    }
}
