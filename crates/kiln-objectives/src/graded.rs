//! Texts with grades: those with good ones become likelier than those with bad ones. Pretraining
//! with human preferences, <https://arxiv.org/abs/2302.08582>.

use crate::{
    ObjectiveError,
    autoregressive::{next_ids, predicted},
    score::{losses_of, pick},
    signs::with_token_signs,
};
use burn::tensor::{Tensor, TensorData, activation::softmax};
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
    /// Each token counts `exp((grade - value) / temperature)` times, where a head says the value of
    /// what stands before it: the grade that it leads to. Advantage-weighted regression,
    /// <https://arxiv.org/abs/1910.00177>.
    Advantage(Advantage),
    /// Texts graded lower become unlikely: <https://arxiv.org/abs/1908.04319>.
    Unlikely(Unlikely),
}

/// How tokens are weighted by their advantage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Advantage {
    /// The advantage that makes a token count e times.
    pub temperature: f64,
    /// The weight of learning values beside learning tokens.
    #[serde(default = "crate::one")]
    pub value: f64,
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

/// What a token counts at most by its advantage, as published.
const DEAREST: f64 = 20.0;
/// The least loss of a token that is to become unlikely: a surer one has no more to lose.
const SUREST: f64 = 1e-4;

impl Graded {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let above = |value: &f64| *value > 0.0 && value.is_finite();
        let least = |value: &f64| *value >= 0.0 && value.is_finite();
        let (key, found, fine, expected) = match self {
            Self::Filtered(grade) => ("graded.filtered", grade, grade.is_finite(), "a number"),
            Self::Weighted(warmth) => ("graded.weighted", warmth, above(warmth), "above 0"),
            Self::Advantage(Advantage { temperature, .. }) if !above(temperature) => {
                ("graded.advantage.temperature", temperature, false, "above 0")
            }
            Self::Advantage(Advantage { value, .. }) => {
                ("graded.advantage.value", value, least(value), "0 or more")
            }
            Self::Unlikely(Unlikely { weight, .. }) => {
                ("graded.unlikely.weight", weight, least(weight), "0 or more")
            }
        };
        if fine {
            return Ok(());
        }
        Err(ObjectiveError { key, problem: format!("is {found}; expected {expected}") })
    }

    /// How much a text of a grade counts as what is to become likely, and as what is not.
    fn weights(&self, grade: f64) -> (f64, f64) {
        match self {
            Self::Filtered(least) => (f64::from(u8::from(grade >= *least)), 0.0),
            Self::Weighted(temperature) => ((grade / temperature).exp(), 0.0),
            Self::Unlikely(Unlikely { below, weight }) if grade < *below => (0.0, *weight),
            Self::Unlikely(_) | Self::Advantage(_) => (1.0, 0.0),
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
        let grade = |at: usize| grades.get(at / layout.tokens).copied().unwrap_or(0.0);
        let grades: Vec<f32> = (0..chosen.len()).filter(|at| chosen[*at]).map(grade).collect();
        let Some((values, ids)) = pick(encoded.values.clone(), next, &chosen) else {
            return nothing();
        };
        let losses = losses_of(model, values.clone(), ids);
        let loss = match self {
            Self::Advantage(advantage) => advantage.loss(model, values, losses, &grades),
            _ => self.weighted(losses, &grades),
        };
        match loss {
            Some(loss) if context.observe => with_token_signs(loss, &encoded),
            Some(loss) => loss,
            None => nothing(),
        }
    }

    /// The mean of the tokens' losses, `[tokens]`, weighted by their grades; `None` where none counts.
    fn weighted<B: Backend>(&self, losses: Tensor<B, 1>, grades: &[f32]) -> Option<Loss<B>> {
        let weights = grades.iter().map(|grade| self.weights(f64::from(*grade)));
        let (likely, unlikely): (Vec<f64>, Vec<f64>) = weights.unzip();
        let all: f64 = likely.iter().chain(&unlikely).sum();
        if !(all > 0.0 && all.is_finite()) {
            return None;
        }
        let count = likely.iter().zip(&unlikely).filter(|(a, b)| **a + **b > 0.0).count();
        let device = losses.device();
        let upload = |weights: Vec<f64>| {
            let weights = weights.into_iter().map(|one| (one / all) as f32).collect();
            uploaded::<B>(weights, &device)
        };
        let some_unlikely = unlikely.iter().any(|weight| *weight > 0.0);
        let mut value = (losses.clone() * upload(likely)).sum();
        if some_unlikely {
            // -ln(1 - p), of a token whose loss is -ln p.
            let gone = losses.clamp_min(SUREST).neg().exp().neg().log1p().neg();
            value = value + (gone * upload(unlikely)).sum();
        }
        Some(Loss::new(value, count))
    }
}

impl Advantage {
    /// The weighted mean of the tokens' losses, `[tokens]`, and the squared error of the values that
    /// the model's head reads off `tokens`, `[tokens, width]`; `None` where it has no such head.
    fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        tokens: Tensor<B, 2>,
        losses: Tensor<B, 1>,
        grades: &[f32],
    ) -> Option<Loss<B>> {
        let count = grades.len();
        let values = model.judge(tokens.unsqueeze_dim(0))?.reshape([count]);
        let surprise = uploaded::<B>(grades.to_vec(), &losses.device()) - values;
        let told = (losses * self.shares(surprise.clone().detach())).sum();
        let valued = surprise.square().mean();
        Some(Loss::new(told + valued.mul_scalar(self.value), count))
    }

    /// What each token counts of all, by how much more its text is graded than its value, `[tokens]`.
    fn shares<B: Backend>(&self, surprise: Tensor<B, 1>) -> Tensor<B, 1> {
        softmax(surprise.div_scalar(self.temperature).clamp_max(DEAREST.ln()), 0)
    }
}

/// `[tokens]` on a device.
fn uploaded<B: Backend>(values: Vec<f32>, device: &B::Device) -> Tensor<B, 1> {
    let length = [values.len()];
    Tensor::from_data(TensorData::new(values, length), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn grades_weigh() {
        assert_eq!(Graded::Filtered(0.5).weights(0.5), (1.0, 0.0));
        assert_eq!(Graded::Filtered(0.5).weights(0.4), (0.0, 0.0));
        assert_eq!(Graded::Weighted(2.0).weights(2.0), (1f64.exp(), 0.0));
        let unlikely = Graded::Unlikely(Unlikely { below: 0.0, weight: 0.5 });
        assert_eq!((unlikely.weights(-1.0), unlikely.weights(0.0)), ((0.0, 0.5), (1.0, 0.0)));
        assert!(Graded::Weighted(0.0).validate().is_err());
        let key = |temperature, value| {
            let advantage = Graded::Advantage(Advantage { temperature, value });
            advantage.validate().map_err(|error| error.key)
        };
        assert_eq!(key(0.0, 1.0), Err("graded.advantage.temperature"));
        assert_eq!(key(1.0, -1.0), Err("graded.advantage.value"));
        assert_eq!(key(1.0, 0.0), Ok(()));
        assert!(unlikely.validate().is_ok());
    }

    #[test]
    fn tokens_count_by_their_advantage() {
        let advantage = Advantage { temperature: 2.0, value: 1.0 };
        let shares = |surprise: [f32; 2]| {
            let surprise = Tensor::<Flex, 1>::from_floats(surprise, &Default::default());
            advantage.shares(surprise).into_data().to_vec::<f32>().unwrap()
        };
        let close = |found: Vec<f32>, share: f32| {
            assert!((found[1] - share).abs() < 1e-6, "{found:?} is not {share}");
        };
        close(shares([0.0, 2.0 * 2f32.ln()]), 2.0 / 3.0);
        // However much better a text is than was thought, it counts so much and no more.
        close(shares([0.0, 1e6]), 20.0 / 21.0);
        close(shares([-1e6, -1e6]), 0.5);
    }
}
