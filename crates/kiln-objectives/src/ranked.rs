//! Pairs of sequences are ordered as they are graded: the more alike they are said to be, the
//! larger the cosine of their vectors. CoSENT, <https://arxiv.org/abs/2312.15185> (appendix), and
//! cosines as grades, <https://arxiv.org/abs/1908.10084>.

use crate::{
    ObjectiveError,
    paired::{split, unit},
};
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::{Backend, Loss, Sign, StepContext, TokenModel, View};
use kiln_kernels::MASK_VALUE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of training by graded pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ranked {
    /// `ln(1 + Σ exp((cosⱼ - cosᵢ) / temperature))` over all two pairs of which the first is graded
    /// higher: only the order of grades counts.
    Cosent(Cosent),
    /// The mean square of cosine minus grade: grades are from -1 to 1.
    Cosine {},
}

/// Settings of CoSENT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cosent {
    /// What differences of cosines are divided by.
    pub temperature: f64,
}

impl Default for Cosent {
    fn default() -> Self {
        Self { temperature: 0.05 }
    }
}

impl Default for Ranked {
    fn default() -> Self {
        Self::Cosent(Cosent::default())
    }
}

impl Ranked {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Cosent(Cosent { temperature })
                if !(*temperature > 0.0 && temperature.is_finite()) =>
            {
                Err(ObjectiveError {
                    key: "ranked.cosent.temperature",
                    problem: format!("is {temperature}; expected above 0"),
                })
            }
            _ => Ok(()),
        }
    }

    /// The loss over the graded pairs of a batch; one without grades counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let device = model.device(batch);
        let views = model.layout(batch).views;
        let Some(grades) = model.grades(batch).filter(|_| views == 2) else {
            return Loss::nothing(&device);
        };
        let (first, second) = split(unit(model.pooled(&model.encode(batch, View::default()))), 2);
        let cosines = (first * second).sum_dim(1);
        let count = grades.len();
        let upload = |grades: &[f32]| {
            Tensor::<B, 2>::from_data(TensorData::new(grades.to_vec(), [count, 1]), &device)
        };
        // Rows are the pairs that should come before their column.
        let square = [count, count];
        let above: Vec<bool> =
            grades.iter().flat_map(|one| grades.iter().map(move |other| one <= other)).collect();
        let ordered = above.iter().filter(|below| !**below).count();
        let apart = cosines.clone().transpose().expand(square) - cosines.clone().expand(square);
        let not_above = Tensor::<B, 2, Bool>::from_data(TensorData::new(above, square), &device);
        let value = match self {
            Self::Cosent(Cosent { temperature }) => {
                let scores = apart.clone().div_scalar(*temperature);
                let scores =
                    scores.mask_fill(not_above.clone(), MASK_VALUE).reshape([1, count * count]);
                let scores = Tensor::cat(vec![Tensor::zeros([1, 1], &device), scores], 1);
                let most = scores.clone().detach().max_dim(1);
                ((scores - most.clone()).exp().sum_dim(1).log() + most).reshape([1])
            }
            Self::Cosine {} => (cosines - upload(&grades)).square().mean(),
        };
        let loss = Loss::new(value, if ordered == 0 { 0 } else { count });
        if !context.observe || ordered == 0 {
            return loss;
        }
        let right = apart.detach().lower_elem(0.0).float().mask_fill(not_above, 0.0).sum();
        loss.with_sign(Sign::Accuracy, right.div_scalar(ordered as f64))
            .with_sign(Sign::ChanceAccuracy, Tensor::from_floats([0.5], &device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, Views, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn the_order_of_grades_counts() {
        let device = Default::default();
        // The toy grades by the first value of each item's first sequence: 1 and 2, with cosines
        // one and zero: in the wrong order.
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]]],
            &device,
        );
        let batch = Views { values, views: 2 };
        let mut rng = Seed::new(0).rng();
        let ranked = Ranked::Cosent(Cosent { temperature: 0.5 });
        let loss =
            ranked.loss(&Toy, &batch, &mut StepContext { observe: true, ..context(&mut rng) });
        assert_eq!(loss.count, 2);
        let accuracy = loss.signs.iter().find(|(sign, _)| *sign == Sign::Accuracy).unwrap();
        assert_eq!(accuracy.1.clone().into_scalar(), 0.0);
        assert!((loss.value.into_scalar() - (1.0 + 2.0f32.exp()).ln()).abs() < 1e-4);
        let mut rng = Seed::new(0).rng();
        let cosine = Ranked::Cosine {}.loss(&Toy, &batch, &mut context(&mut rng));
        assert!((cosine.value.into_scalar() - 2.0).abs() < 1e-5);
        assert!(Ranked::Cosent(Cosent { temperature: 0.0 }).validate().is_err());
    }
}
