//! Reward-weighted language modelling: rated texts become likelier the better they are rated.
//! Filtering, unlikelihood, reward-weighted (RWR) and advantage-weighted regression (AWR), as in
//! pretraining with human preferences, <https://arxiv.org/abs/2302.08582>; its conditional training is
//! `autoregressive` with control tokens in the data.

use crate::{
    ObjectiveError, ObjectiveSpec,
    autoregressive::{next_ids, predicted},
    diagnostics::with_token_diagnostics,
    score::{TokenHead, pick},
    spec::{DynModel, check, check_positive, check_weight},
};
use burn::tensor::{Tensor, TensorData, activation::softmax};
use kiln_core::{
    AttentionVisibility, Backend, Corruption, HostBatch, Lack, Loss, Need, PredictValue,
    StepContext,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the rating of a text changes its loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RewardWeighted {
    /// Filtering: texts rated lower than this are left out.
    Filtering(f64),
    /// Reward-weighted regression: each text counts `exp(rating / temperature)` times,
    /// <https://dl.acm.org/doi/10.1145/1273496.1273590>.
    Rwr(f64),
    /// Advantage-weighted regression: each token counts `exp((rating - value) / temperature)` times,
    /// where a value head predicts the rating from what stands before it,
    /// <https://arxiv.org/abs/1910.00177>.
    Awr(Awr),
    /// Unlikelihood training: texts rated lower become unlikely,
    /// <https://arxiv.org/abs/1908.04319>.
    Unlikelihood(Unlikelihood),
}

/// Settings of advantage-weighted regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Awr {
    /// The advantage that makes a token count e times.
    pub temperature: f64,
    /// The weight of the value head's loss.
    #[serde(default = "crate::one")]
    pub value: f64,
}

/// Settings of unlikelihood training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlikelihood {
    /// Texts rated lower become unlikely.
    pub below: f64,
    /// What each of their tokens counts beside one of the others.
    #[serde(default = "crate::one")]
    pub weight: f64,
}

/// The largest weight of a token by its advantage, as published.
const MAX_WEIGHT: f64 = 20.0;
/// The least loss of a token that is to become unlikely: a surer one has no more to lose.
const MIN_NLL: f64 = 1e-4;

impl ObjectiveSpec for RewardWeighted {
    type Drawn = Vec<bool>;

    fn validate(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Filtering(least) => {
                check(least.is_finite(), "reward-weighted.filtering", least, "a number")
            }
            Self::Rwr(temperature) => check_positive("reward-weighted.rwr", *temperature),
            Self::Awr(Awr { temperature, value }) => {
                check_positive("reward-weighted.awr.temperature", *temperature)?;
                check_weight("reward-weighted.awr.value", *value)
            }
            Self::Unlikelihood(Unlikelihood { weight, .. }) => {
                check_weight("reward-weighted.unlikelihood.weight", *weight)
            }
        }
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::TokenTargets, Need::TokenIds, Need::Causal { ahead: 1 }];
        needs.push(Need::Ratings);
        if matches!(self, Self::Awr(_)) {
            needs.push(Need::ValueHead);
        }
        needs
    }

    /// The tokens that are predicted, `[batch, tokens]` in row-major order.
    fn draw(&self, batch: &dyn HostBatch, _: &mut StepContext<'_>) -> Vec<bool> {
        predicted(&batch.layout(), None, 1)
    }

    /// The weighted mean over the tokens of a batch.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        loss_mask: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let empty = Loss::empty(&model.device(batch));
        let capabilities = model.capabilities();
        let (encoder, heads) = (capabilities.encode()?, capabilities.predict_tokens()?);
        let ratings = capabilities.ratings()?.ratings(batch);
        let (Some(ratings), Some((head, ids))) = (ratings, TokenHead::of_ids(heads, batch)) else {
            return Ok(empty);
        };
        let encoded =
            encoder.encode(batch, &Corruption::none(), Some(&AttentionVisibility::causal()));
        let (next, chosen) = next_ids(ids, &loss_mask, 1);
        let [_, tokens, _] = encoded.dims();
        let rating = |at: usize| ratings.get(at / tokens).copied().unwrap_or(0.0);
        let ratings: Vec<f32> = (0..chosen.len()).filter(|at| chosen[*at]).map(rating).collect();
        let Some((hidden, ids)) = pick(encoded.values.clone(), next, &chosen) else {
            return Ok(empty);
        };
        let losses = head.nll(hidden.clone(), ids);
        let loss = match self {
            Self::Awr(awr) => Some(awr.loss(capabilities.value()?, hidden, losses, &ratings)),
            _ => self.weighted(losses, &ratings),
        };
        Ok(match loss {
            Some(loss) if context.collect_metrics => with_token_diagnostics(loss, &encoded),
            Some(loss) => loss,
            None => empty,
        })
    }
}

impl RewardWeighted {
    /// How much a text of a rating counts as what is to become likely, and as what is not.
    fn weights(&self, rating: f64) -> (f64, f64) {
        match self {
            Self::Filtering(least) => (f64::from(u8::from(rating >= *least)), 0.0),
            Self::Rwr(temperature) => ((rating / temperature).exp(), 0.0),
            Self::Unlikelihood(Unlikelihood { below, weight }) if rating < *below => (0.0, *weight),
            Self::Unlikelihood(_) | Self::Awr(_) => (1.0, 0.0),
        }
    }

    /// The mean of the tokens' losses, `[tokens]`, weighted by their ratings; `None` where none counts.
    fn weighted<B: Backend>(&self, losses: Tensor<B, 1>, ratings: &[f32]) -> Option<Loss<B>> {
        let weights = ratings.iter().map(|rating| self.weights(f64::from(*rating)));
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
            let gone = losses.clamp_min(MIN_NLL).neg().exp().neg().log1p().neg();
            value = value + (gone * upload(unlikely)).sum();
        }
        Some(Loss::new(value, count))
    }
}

impl Awr {
    /// The weighted mean of the tokens' losses, `[tokens]`, and the squared error of the values that
    /// the value head reads off hidden states, `[tokens, width]`.
    fn loss<B: Backend, T>(
        &self,
        head: &dyn PredictValue<B, T>,
        hidden: Tensor<B, 2>,
        losses: Tensor<B, 1>,
        ratings: &[f32],
    ) -> Loss<B> {
        let count = ratings.len();
        let values = head.values(hidden.unsqueeze_dim(0)).reshape([count]);
        let advantage = uploaded::<B>(ratings.to_vec(), &losses.device()) - values;
        let policy = (losses * self.shares(advantage.clone().detach())).sum();
        let error = advantage.square().mean();
        Loss::new(policy + error.mul_scalar(self.value), count)
    }

    /// What each token counts of all, by its advantage, `[tokens]`.
    fn shares<B: Backend>(&self, advantage: Tensor<B, 1>) -> Tensor<B, 1> {
        softmax(advantage.div_scalar(self.temperature).clamp_max(MAX_WEIGHT.ln()), 0)
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
    fn ratings_weigh() {
        assert_eq!(RewardWeighted::Filtering(0.5).weights(0.5), (1.0, 0.0));
        assert_eq!(RewardWeighted::Filtering(0.5).weights(0.4), (0.0, 0.0));
        assert_eq!(RewardWeighted::Rwr(2.0).weights(2.0), (1f64.exp(), 0.0));
        let unlikely = RewardWeighted::Unlikelihood(Unlikelihood { below: 0.0, weight: 0.5 });
        assert_eq!((unlikely.weights(-1.0), unlikely.weights(0.0)), ((0.0, 0.5), (1.0, 0.0)));
        assert!(RewardWeighted::Rwr(0.0).validate().is_err());
        let key = |temperature, value| {
            let advantage = RewardWeighted::Awr(Awr { temperature, value });
            advantage.validate().map_err(|error| error.key)
        };
        assert_eq!(key(0.0, 1.0), Err("reward-weighted.awr.temperature".to_owned()));
        assert_eq!(key(1.0, -1.0), Err("reward-weighted.awr.value".to_owned()));
        assert_eq!(key(1.0, 0.0), Ok(()));
        assert!(unlikely.validate().is_ok());
    }

    #[test]
    fn tokens_count_by_their_advantage() {
        let advantage = Awr { temperature: 2.0, value: 1.0 };
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
