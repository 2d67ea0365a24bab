//! Group relative policy optimisation (GRPO, <https://arxiv.org/abs/2402.03300>): completions that the
//! model samples become likelier the larger their reward beside others of the same prompt.
//!
//! Where the paper updates several times with the same completions and clips what has moved too far,
//! here each step samples its own, so that nothing is to be clipped. The reward is a rule that
//! compares a completion with the reference, not a reward model.

use crate::{
    ObjectiveError, ObjectiveSpec,
    autoregressive::{next_token_nll, predicted},
    spec::{DynModel, check, check_count, check_weight},
};
use burn::tensor::{Tensor, TensorData};
use kiln_core::{
    Backend, Completions, HostBatch, Lack, Layout, Loss, Need, Seed, StepContext, Teacher,
};
use kiln_kernels::eval_mode;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of GRPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grpo {
    /// The reward of a completion.
    pub reward: Reward,
    /// Group size: completions that are sampled for each prompt, 2 or more.
    pub num_generations: usize,
    /// The most tokens that a completion may have.
    pub max_new_tokens: usize,
    /// The weight of the KL divergence from the reference model, in rewards a nat.
    pub beta: f64,
    /// Whether advantages are divided by the standard deviation of their group. Without, prompts that
    /// are nearly always or nearly never completed right count less
    /// (<https://arxiv.org/abs/2503.20783>).
    pub scale_rewards: bool,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            reward: Reward::Overlap,
            num_generations: 8,
            max_new_tokens: 32,
            beta: 0.04,
            scale_rewards: true,
        }
    }
}

/// The reward of a completion beside the reference of the data, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// 1 where it is the same, token by token.
    Exact,
    /// The F1 of its tokens and those of the reference, in any order.
    #[default]
    Overlap,
}

impl Reward {
    /// The reward of a completion beside the reference, from 0 to 1.
    pub fn of(self, completion: &[u32], reference: &[u32]) -> f32 {
        match self {
            Self::Exact => f32::from(u8::from(completion == reference)),
            Self::Overlap => overlap(completion, reference),
        }
    }
}

/// The F1 of the tokens of two texts, each as often as it occurs; 1 of two that are empty.
fn overlap(one: &[u32], other: &[u32]) -> f32 {
    let mut left: BTreeMap<u32, usize> = BTreeMap::new();
    other.iter().for_each(|id| *left.entry(*id).or_default() += 1);
    let mut shared = 0;
    for id in one {
        if let Some(count) = left.get_mut(id).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    match one.len() + other.len() {
        0 => 1.0,
        all => 2.0 * shared as f32 / all as f32,
    }
}

impl ObjectiveSpec for Grpo {
    type Drawn = Seed;

    fn validate(&self) -> Result<(), ObjectiveError> {
        let count = self.num_generations;
        check(count >= 2, "grpo.num_generations", count, "2 or more completions to compare")?;
        check_count("grpo.max_new_tokens", self.max_new_tokens)?;
        check_weight("grpo.beta", self.beta)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::TokenTargets, Need::TokenIds, Need::Causal { ahead: 1 }, Need::Completions]
    }

    fn teacher(&self) -> Option<Teacher> {
        (self.beta > 0.0).then_some(Teacher::ReferenceModel)
    }

    /// The seed of the completions.
    fn draw(&self, _: &dyn HostBatch, context: &mut StepContext<'_>) -> Seed {
        Seed::new(context.rng.random())
    }

    /// Minus the mean reward, and the weighted KL divergence from the reference model: these are the
    /// value, while gradients are those of the paper.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        seed: Self::Drawn,
        _: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let empty = Loss::empty(&model.device(batch));
        let language = model.capabilities().language()?;
        let (count, longest) = (self.num_generations, self.max_new_tokens);
        let sampled = eval_mode(|| language.sample_completions(batch, count, longest, seed))?;
        let Some(Completions { batch, layout, sampled, references }) = sampled else {
            return Ok(empty);
        };
        let references = references.iter().flat_map(|one| std::iter::repeat_n(one, count));
        let each = sampled.iter().zip(references);
        let rewards: Vec<f32> = each.map(|(one, right)| self.reward.of(one, right)).collect();
        let advantages = self.advantages(&rewards);
        let loss = self.policy_loss(model, teacher, (&batch, &layout), &rewards, &advantages)?;
        Ok(loss.unwrap_or(empty))
    }
}

impl Grpo {
    /// The advantage of each completion: its reward relative to those of its group.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let of_group = |group: &[f32]| {
            let mean = group.iter().sum::<f32>() / group.len() as f32;
            let squares = group.iter().map(|reward| (reward - mean).powi(2)).sum::<f32>();
            let deviation = (squares / group.len() as f32).sqrt();
            let unit = if self.scale_rewards { deviation + 1e-4 } else { 1.0 };
            group.iter().map(|reward| (reward - mean) / unit).collect::<Vec<_>>()
        };
        rewards.chunks(self.num_generations.max(1)).flat_map(of_group).collect()
    }

    fn policy_loss<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        (batch, layout): (&T, &Layout),
        rewards: &[f32],
        advantages: &[f32],
    ) -> Result<Option<Loss<B>>, Lack> {
        let loss_mask = predicted(layout, None, 1);
        let Some(own) = next_token_nll(model, batch, &loss_mask)? else { return Ok(None) };
        let reference = match teacher.filter(|_| self.beta > 0.0) {
            Some(teacher) => eval_mode(|| next_token_nll(teacher, batch, &loss_mask))?,
            None => None,
        };
        let device = own.device();
        let upload = |values: Vec<f32>| {
            let length = [values.len()];
            Tensor::<B, 1>::from_data(TensorData::new(values, length), &device)
        };
        // Each completion counts the same, however long it is.
        let lengths: Vec<usize> = loss_mask
            .chunks(layout.tokens.max(1))
            .map(|row| row.iter().filter(|on| **on).count())
            .collect();
        let completions = lengths.iter().filter(|count| **count > 0).count().max(1) as f32;
        let share = |count: usize| 1.0 / (count as f32 * completions);
        let tokens = |of: &dyn Fn(usize, usize) -> f32| {
            let rows = lengths.iter().enumerate();
            upload(rows.flat_map(|(row, count)| vec![of(row, *count); *count]).collect())
        };
        let weights =
            tokens(&|row, count| advantages.get(row).copied().unwrap_or(0.0) * share(count));
        // The likelihood of a token beside what it was when it was sampled: 1, but with a gradient.
        let ratio = (own.clone().detach() - own.clone()).exp();
        let gain = (ratio * weights).sum();
        let mean = rewards.iter().sum::<f32>() / rewards.len().max(1) as f32;
        let mut value = gain.clone().detach() - gain - upload(vec![mean]);
        if let Some(reference) = reference {
            // An estimate of the divergence that is never negative, the paper's equation 4.
            let further = own - reference.detach();
            let divergence = further.clone().exp() - further - 1.0;
            let shares = tokens(&|_, count| share(count));
            value = value + (divergence * shares).sum().mul_scalar(self.beta);
        }
        Ok(Some(Loss::new(value, rewards.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_worth_what_they_share() {
        assert_eq!(Reward::Exact.of(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(Reward::Exact.of(&[1, 2, 3], &[1, 2]), 0.0);
        // One of two and one of three tokens: 2 * 1 / 5.
        assert_eq!(Reward::Overlap.of(&[1, 1], &[1, 2, 3]), 0.4);
        assert_eq!((Reward::Overlap.of(&[], &[]), Reward::Overlap.of(&[1], &[])), (1.0, 0.0));
    }

    #[test]
    fn advantages_are_those_within_a_group() {
        let plain = Grpo { num_generations: 2, scale_rewards: false, ..Grpo::default() };
        assert_eq!(plain.advantages(&[1.0, 0.0, 0.5, 0.5]), [0.5, -0.5, 0.0, 0.0]);
        let standardised = Grpo { scale_rewards: true, ..plain.clone() };
        let found = standardised.advantages(&[1.0, 0.0, 0.5, 0.5]);
        assert!((found[0] - 1.0).abs() < 1e-3 && (found[1] + 1.0).abs() < 1e-3, "{found:?}");
        assert_eq!(found[2..], [0.0, 0.0]);
        assert!(Grpo { num_generations: 1, ..plain }.validate().is_err());
    }
}
