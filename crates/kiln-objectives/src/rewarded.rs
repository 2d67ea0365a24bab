//! Answers that the model writes itself become likelier the more they are worth beside others of the
//! same question: group relative policy optimisation, GRPO, <https://arxiv.org/abs/2402.03300>.
//!
//! Where the paper updates several times with the same answers and clips what has moved too far,
//! here each step draws its own, so that nothing is to be clipped. What an answer is worth is a rule
//! that compares it with the right one, not a model's opinion.

use crate::{
    ObjectiveError,
    autoregressive::{losses_of_next, predicted},
};
use burn::tensor::{Tensor, TensorData};
use kiln_core::{Backend, Layout, Loss, Rewrite, Seed, StepContext, TokenModel};
use kiln_kernels::eval_mode;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of training by rewards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewarded {
    /// What an answer is worth.
    pub reward: Reward,
    /// Answers that are drawn of each question, 2 or more.
    pub group: usize,
    /// Tokens of an answer at most.
    pub most: usize,
    /// What the distance from where the model began costs, in rewards a nat.
    pub beta: f64,
    /// Whether advantages are counted in standard deviations of their group. Without, questions
    /// that are nearly always or nearly never answered right count less
    /// (<https://arxiv.org/abs/2503.20783>).
    pub standardised: bool,
}

impl Default for Rewarded {
    fn default() -> Self {
        Self { reward: Reward::Overlap, group: 8, most: 32, beta: 0.04, standardised: true }
    }
}

/// What an answer is worth, from 0 to 1, beside the right one of the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// 1 where it is the same, token by token.
    Exact,
    /// The F1 of its tokens and those of the right one, in any order.
    #[default]
    Overlap,
}

impl Reward {
    /// What an answer is worth beside the right one, from 0 to 1.
    pub fn of(self, written: &[u32], right: &[u32]) -> f32 {
        match self {
            Self::Exact => f32::from(u8::from(written == right)),
            Self::Overlap => overlap(written, right),
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

impl Rewarded {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |key, problem| Err(ObjectiveError { key, problem });
        if self.group < 2 {
            let problem = format!("is {}; expected 2 or more answers to compare", self.group);
            return wrong("rewarded.group", problem);
        }
        if self.most == 0 {
            return wrong("rewarded.most", "is 0; expected at least 1".into());
        }
        if !(self.beta >= 0.0 && self.beta.is_finite()) {
            let problem = format!("is {}; expected 0 or more", self.beta);
            return wrong("rewarded.beta", problem);
        }
        Ok(())
    }

    /// Minus the mean reward, and what the distance from where the model began costs: so much is
    /// told, while gradients are those of the paper. A batch without questions counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let nothing = || Loss::nothing(&model.device(batch));
        let Some(sequences) = model.sequences(batch) else { return nothing() };
        let questions = questions(&model.layout(batch), &sequences);
        if questions.is_empty() {
            return nothing();
        }
        let each = |question: &Rewrite| vec![question.read.clone(); self.group];
        let asked: Vec<Vec<u32>> = questions.iter().flat_map(each).collect();
        let seed = Seed::new(context.rng.random());
        let answers = eval_mode(|| model.answers(batch, &asked, self.most, seed));
        let Some(answers) = answers else { return nothing() };
        let rights = questions.iter().flat_map(|question| vec![&question.write; self.group]);
        let rewards =
            answers.iter().zip(rights).map(|(answer, right)| self.reward.of(answer, right));
        let rewards: Vec<f32> = rewards.collect();
        let advantages = self.advantages(&rewards);
        let rewrites = asked.into_iter().zip(answers).map(|(read, write)| Rewrite { read, write });
        let Some(written) = model.written(batch, rewrites.collect()) else { return nothing() };
        self.loss_of(model, teacher, &written, &rewards, &advantages).unwrap_or_else(nothing)
    }

    /// How much better each answer is than those beside it.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let of_group = |group: &[f32]| {
            let mean = group.iter().sum::<f32>() / group.len() as f32;
            let squares = group.iter().map(|reward| (reward - mean).powi(2)).sum::<f32>();
            let deviation = (squares / group.len() as f32).sqrt();
            let unit = if self.standardised { deviation + 1e-4 } else { 1.0 };
            group.iter().map(|reward| (reward - mean) / unit).collect::<Vec<_>>()
        };
        rewards.chunks(self.group.max(1)).flat_map(of_group).collect()
    }

    fn loss_of<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        rewards: &[f32],
        advantages: &[f32],
    ) -> Option<Loss<B>> {
        let layout = model.layout(batch);
        let counted = predicted(&layout, None, 1);
        let own = losses_of_next(model, batch, &counted)?;
        let began =
            teacher.and_then(|teacher| eval_mode(|| losses_of_next(teacher, batch, &counted)));
        let device = own.device();
        let upload = |values: Vec<f32>| {
            let length = [values.len()];
            Tensor::<B, 1>::from_data(TensorData::new(values, length), &device)
        };
        // Each answer counts the same, however long it is.
        let written: Vec<usize> = counted
            .chunks(layout.tokens.max(1))
            .map(|row| row.iter().filter(|on| **on).count())
            .collect();
        let answers = written.iter().filter(|count| **count > 0).count().max(1) as f32;
        let share = |count: usize| 1.0 / (count as f32 * answers);
        let tokens = |of: &dyn Fn(usize, usize) -> f32| {
            let rows = written.iter().enumerate();
            upload(rows.flat_map(|(row, count)| vec![of(row, *count); *count]).collect())
        };
        let weights =
            tokens(&|row, count| advantages.get(row).copied().unwrap_or(0.0) * share(count));
        // The likelihood of a token beside what it was when it was drawn: 1, but with a gradient.
        let ratio = (own.clone().detach() - own.clone()).exp();
        let gain = (ratio * weights).sum();
        let mean = rewards.iter().sum::<f32>() / rewards.len().max(1) as f32;
        let mut value = gain.clone().detach() - gain - upload(vec![mean]);
        if let Some(began) = began.filter(|_| self.beta > 0.0) {
            // An estimate of the divergence that is never negative, the paper's equation 4.
            let further = own - began.detach();
            let distance = further.clone().exp() - further - 1.0;
            let shares = tokens(&|_, count| share(count));
            value = value + (distance * shares).sum().mul_scalar(self.beta);
        }
        Some(Loss::new(value, rewards.len()))
    }
}

/// The questions of a batch.
fn questions(layout: &Layout, sequences: &[Vec<u32>]) -> Vec<Rewrite> {
    let Some(counted) = &layout.counted else { return Vec::new() };
    let rows = sequences.iter().zip(counted.chunks(layout.tokens.max(1)));
    rows.filter_map(|(ids, counted)| last_answer(ids, counted)).collect()
}

/// What is said last of what counts in a sequence, and what stands before it; `None` where nothing
/// does.
pub fn last_answer(ids: &[u32], counted: &[bool]) -> Option<Rewrite> {
    let counted = counted.get(..ids.len())?;
    let last = counted.iter().rposition(|on| *on)?;
    let first = counted[..last].iter().rposition(|on| !*on).map_or(0, |before| before + 1);
    let answer = Rewrite { read: ids[..first].to_vec(), write: ids[first..=last].to_vec() };
    (first > 0).then_some(answer)
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
        let plain = Rewarded { group: 2, standardised: false, ..Rewarded::default() };
        assert_eq!(plain.advantages(&[1.0, 0.0, 0.5, 0.5]), [0.5, -0.5, 0.0, 0.0]);
        let standardised = Rewarded { standardised: true, ..plain.clone() };
        let found = standardised.advantages(&[1.0, 0.0, 0.5, 0.5]);
        assert!((found[0] - 1.0).abs() < 1e-3 && (found[1] + 1.0).abs() < 1e-3, "{found:?}");
        assert_eq!(found[2..], [0.0, 0.0]);
        assert!(Rewarded { group: 1, ..plain }.validate().is_err());
    }

    #[test]
    fn the_last_answer_is_asked_for() {
        let on = [false, true, true, false, true, true, false, true, false, false, false, false];
        let layout =
            Layout { lengths: Some(vec![6, 2]), counted: Some(on.to_vec()), ..Layout::new(2, 6) };
        let found = questions(&layout, &[vec![1, 2, 3, 4, 5, 6], vec![7, 8]]);
        let wanted = [
            Rewrite { read: vec![1, 2, 3, 4], write: vec![5, 6] },
            Rewrite { read: vec![7], write: vec![8] },
        ];
        assert_eq!(found, wanted);
        // What has no question before it is none.
        let bare = Layout { counted: Some(vec![true, true]), ..Layout::new(1, 2) };
        assert!(questions(&bare, &[vec![1, 2]]).is_empty());
    }
}
