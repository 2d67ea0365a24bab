//! Hidden tokens are told from distractors, both as a quantiser codes them: wav2vec 2.0,
//! <https://arxiv.org/abs/2006.11477>.
//!
//! The loss of a hidden token is `-ln(exp(s₀ / κ) / Σₖ exp(sₖ / κ))` over the cosines `s` of what is
//! predicted with its own code and with the codes of K distractors: tokens drawn from the others
//! hidden in the same sequence. Distractors with the very code of the token are left out, as in
//! fairseq and transformers. Added are a share of what the codebooks lack in diversity, and of the
//! frontend's power.

use crate::{
    ObjectiveError, Spans,
    losses::{accuracy, cross_entropy},
    paired::unit,
    signs::with_token_signs,
};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Backend, Layout, Loss, Quantised, Rng, Sign, StepContext, TokenModel, View};
use kiln_kernels::MASK_VALUE;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the contrastive objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contrastive {
    /// Which tokens are hidden.
    pub spans: Spans,
    /// Distractors of a token.
    pub negatives: usize,
    /// What cosines are divided by.
    pub temperature: f64,
    /// The weight of the codebooks' lack of diversity: the share of their codes not in use, by
    /// perplexity.
    pub diversity_weight: f64,
    /// The weight of the mean square of the frontend's features.
    pub feature_penalty: f64,
    /// The temperature at which codes are drawn.
    pub gumbel: Gumbel,
}

/// A temperature that falls from step to step: `max(start · decay^step, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gumbel {
    /// At the first step.
    pub start: f64,
    /// At the end.
    pub end: f64,
    /// What a step multiplies it by.
    pub decay: f64,
}

impl Default for Contrastive {
    /// The published settings of the base model.
    fn default() -> Self {
        Self {
            spans: Spans::default(),
            negatives: 100,
            temperature: 0.1,
            diversity_weight: 0.1,
            feature_penalty: 10.0,
            gumbel: Gumbel::default(),
        }
    }
}

impl Default for Gumbel {
    fn default() -> Self {
        Self { start: 2.0, end: 0.5, decay: 0.999_995 }
    }
}

impl Gumbel {
    /// The temperature at a step.
    pub fn at(&self, step: u64) -> f64 {
        (self.start * self.decay.powf(step as f64)).max(self.end)
    }
}

impl Contrastive {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        self.spans.validate("contrastive.spans")?;
        let wrong = |key, found: f64, expected: &str| {
            Err(ObjectiveError { key, problem: format!("is {found}; expected {expected}") })
        };
        if self.negatives == 0 {
            return wrong("contrastive.negatives", 0.0, "at least 1");
        }
        let Gumbel { start, end, decay } = self.gumbel;
        for (key, value) in [
            ("contrastive.temperature", self.temperature),
            ("contrastive.gumbel.start", start),
            ("contrastive.gumbel.end", end),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(key, value, "above 0");
            }
        }
        for (key, value) in [
            ("contrastive.diversity_weight", self.diversity_weight),
            ("contrastive.feature_penalty", self.feature_penalty),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return wrong(key, value, "0 or more");
            }
        }
        if !(decay > 0.0 && decay <= 1.0) {
            return wrong("contrastive.gumbel.decay", decay, "above 0, at most 1");
        }
        Ok(())
    }

    /// The mean loss over hidden tokens that have distractors. Models without a quantiser count
    /// nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let device = model.device(batch);
        let hidden = self.spans.sample(&layout, context.rng);
        let candidates = Candidates::draw(&hidden, &layout, self.negatives, context.rng);
        let picked = candidates.picked(layout.tokens);
        let nothing = || Loss::nothing(&device);
        if picked.is_empty() {
            return nothing();
        }
        let share = picked.len() as f32 / visible(&layout) as f32;
        let hide = TensorData::new(hidden, [layout.batch, layout.tokens]);
        let view = View::hiding(Tensor::from_data(hide, &device));
        let temperature =
            kiln_kernels::is_training::<B>(&device).then(|| self.gumbel.at(context.step));
        let Some(quantised) = model.quantise(batch, view, &picked, temperature, context.rng) else {
            return nothing();
        };
        let matched = contrastive_loss(&quantised, &candidates, self.temperature);
        let (perplexity, diversity) = diversity(quantised.usage.clone());
        let rest = diversity.mul_scalar(self.diversity_weight)
            + quantised.power.clone().mul_scalar(self.feature_penalty);
        let loss = Loss::new(matched.value.clone() + rest.clone(), matched.count);
        if !context.observe {
            return loss;
        }
        let choices = (self.negatives + 1) as f32;
        let [groups, _] = quantised.usage.dims();
        let one = |value: f32| Tensor::from_floats([value], &device);
        with_token_signs(loss, &quantised.tokens)
            .with_sign(Sign::GuessLoss, rest.add_scalar(choices.ln()))
            .with_sign(Sign::ContrastiveLoss, matched.value)
            .with_sign(Sign::Accuracy, matched.accuracy)
            .with_sign(Sign::ChanceAccuracy, one(1.0 / choices))
            .with_sign(Sign::CodebookPerplexity, perplexity)
            .with_sign(Sign::CollapsedPerplexity, one(groups as f32))
            .with_sign(Sign::MaskedShare, one(share))
    }
}

/// Tokens of a batch that are no padding, at least one.
fn visible(layout: &Layout) -> usize {
    (0..layout.batch).map(|sequence| layout.length(sequence)).sum::<usize>().max(1)
}

/// Hidden tokens and what each must be told from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// The hidden tokens of each sequence, rising.
    pub hidden: Vec<Vec<usize>>,
    /// For each sequence the distractors of its hidden tokens, as many for each, one after the
    /// other: numbers into `hidden` of that sequence.
    pub distractors: Vec<Vec<usize>>,
}

impl Candidates {
    /// Draws distractors, uniformly and with replacement from the other hidden tokens of the same
    /// sequence; `hidden` is `[batch, tokens]` in row-major order. A token hidden alone has none.
    pub fn draw(hidden: &[bool], layout: &Layout, negatives: usize, rng: &mut Rng) -> Self {
        let rows = hidden.chunks(layout.tokens.max(1)).take(layout.batch);
        let hidden: Vec<Vec<usize>> = rows
            .map(|row| row.iter().enumerate().filter(|(_, hidden)| **hidden).map(|(at, _)| at))
            .map(Iterator::collect)
            .collect();
        let draw = |row: &Vec<usize>| {
            let count = row.len();
            if count < 2 {
                return Vec::new();
            }
            let mut other = |own: usize| {
                let drawn = rng.random_range(0..count - 1);
                drawn + usize::from(drawn >= own)
            };
            (0..count * negatives).map(|at| other(at / negatives)).collect()
        };
        let distractors = hidden.iter().map(draw).collect();
        Self { hidden, distractors }
    }

    /// The hidden tokens as rows of `[batch * tokens]`, rising.
    pub fn picked(&self, tokens: usize) -> Vec<usize> {
        let rows = self.hidden.iter().enumerate();
        rows.flat_map(|(row, hidden)| hidden.iter().map(move |at| row * tokens + at)).collect()
    }

    /// The most tokens that are hidden in a sequence.
    fn most(&self) -> usize {
        self.hidden.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// `[batch, most, most]` in row-major order: the logarithm of how often a hidden token (column)
    /// is a candidate of another (row). A distractor drawn twice counts twice in the sum.
    fn log_counts(&self) -> Vec<f32> {
        let most = self.most();
        let mut counts = vec![0u32; self.hidden.len() * most * most];
        let sequences = self.hidden.iter().zip(&self.distractors);
        for (block, (hidden, distractors)) in counts.chunks_mut((most * most).max(1)).zip(sequences)
        {
            let each = distractors.len() / hidden.len().max(1);
            for (at, distractor) in distractors.iter().enumerate() {
                block[at / each.max(1) * most + distractor] += 1;
            }
            for at in 0..most {
                block[at * most + at] = 1;
            }
        }
        let log = |count: &u32| if *count == 0 { MASK_VALUE as f32 } else { (*count as f32).ln() };
        counts.iter().map(log).collect()
    }
}

/// What [`contrastive_loss`] gives.
#[derive(Clone, Debug)]
pub struct Matched<B: Backend> {
    /// `[1]`, the mean loss of the tokens counted.
    pub value: Tensor<B, 1>,
    /// Hidden tokens that have distractors.
    pub count: usize,
    /// `[1]`, the share of them whose own code comes first.
    pub accuracy: Tensor<B, 1>,
}

/// How well predictions match their own codes among those of their distractors.
///
/// All cosines of a sequence are taken at once, so that the codes of distractors are never copied.
/// The rows of `quantised` are those of [`Candidates::picked`].
pub fn contrastive_loss<B: Backend>(
    quantised: &Quantised<B>,
    candidates: &Candidates,
    temperature: f64,
) -> Matched<B> {
    let device = quantised.codes.device();
    let (batch, most) = (candidates.hidden.len(), candidates.most());
    let places = Places::new(candidates, &device);
    let predictions = places.lay_out(unit(quantised.predictions.clone()));
    let codes = places.lay_out(unit(quantised.codes.clone()));
    let square = [batch, most, most];
    let counts = Tensor::from_data(TensorData::new(candidates.log_counts(), square), &device);
    let cosines = predictions.matmul(codes.swap_dims(1, 2));
    let logits = cosines.div_scalar(temperature) + counts;
    let logits = logits.mask_fill(places.same_code(quantised.entries.clone()), MASK_VALUE);
    let logits = logits.reshape([batch * most, most]);
    let own = (0..batch * most).map(|row| (row % most.max(1)) as i64).collect::<Vec<_>>();
    let own = Tensor::<B, 1, Int>::from_data(TensorData::new(own, [batch * most]), &device);
    let (value, count) = cross_entropy(logits.clone(), own.clone(), Some(places.ignore.clone()));
    let accuracy = accuracy(logits.detach(), own, Some(places.ignore));
    Matched { value, count, accuracy }
}

/// Where the rows of a [`Quantised`] stand in `[batch, most]`.
struct Places<B: Backend> {
    /// `[batch * most]`, the row; the first one where there is none.
    rows: Tensor<B, 1, Int>,
    /// `[batch * most]`, true where there is no row, or one without distractors.
    ignore: Tensor<B, 1, Bool>,
    batch: usize,
    most: usize,
}

impl<B: Backend> Places<B> {
    fn new(candidates: &Candidates, device: &B::Device) -> Self {
        let (batch, most) = (candidates.hidden.len(), candidates.most());
        let (mut rows, mut ignore) = (vec![0i64; batch * most], vec![true; batch * most]);
        let mut next = 0;
        for (sequence, hidden) in candidates.hidden.iter().enumerate() {
            for at in 0..hidden.len() {
                rows[sequence * most + at] = next;
                ignore[sequence * most + at] = candidates.distractors[sequence].is_empty();
                next += 1;
            }
        }
        Self {
            rows: Tensor::from_data(TensorData::new(rows, [batch * most]), device),
            ignore: Tensor::from_data(TensorData::new(ignore, [batch * most]), device),
            batch,
            most,
        }
    }

    /// `[picked, width]` to `[batch, most, width]`.
    fn lay_out(&self, x: Tensor<B, 2>) -> Tensor<B, 3> {
        let [_, width] = x.dims();
        let rows = self.rows.clone().unsqueeze_dim(0);
        kiln_kernels::gather_tokens(x.unsqueeze_dim(0), rows)
            .reshape([self.batch, self.most, width])
    }

    /// `[batch, most, most]`, true where two different tokens have the same code in all groups.
    fn same_code(&self, entries: Tensor<B, 2, Int>) -> Tensor<B, 3, Bool> {
        let [_, groups] = entries.dims();
        let (batch, most) = (self.batch, self.most);
        let device = entries.device();
        let apart = (0..most * most).map(|at| at / most != at % most).collect::<Vec<_>>();
        let apart =
            Tensor::<B, 3, Bool>::from_data(TensorData::new(apart, [1, most, most]), &device);
        let entries = entries.select(0, self.rows.clone());
        (0..groups).fold(apart.expand([batch, most, most]), |same, group| {
            let entry = entries.clone().narrow(1, group, 1);
            let row = entry.clone().reshape([batch, most, 1]).expand([batch, most, most]);
            let column = entry.reshape([batch, 1, most]).expand([batch, most, most]);
            same.bool_and(row.equal(column))
        })
    }
}

/// The perplexity of codebooks, summed over groups, and the share of their entries that are not in
/// use by that count, `[1]` each; `usage` is `[groups, entries]`.
pub fn diversity<B: Backend>(usage: Tensor<B, 2>) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let codes = usage.shape().num_elements() as f64;
    // At zero the product is zero, whatever the logarithm of the least number is.
    let bits = usage.clone() * usage.clamp_min(1e-20).log();
    let perplexity = bits.sum_dim(1).neg().exp().sum();
    let missing = perplexity.clone().neg().add_scalar(codes).div_scalar(codes);
    (perplexity, missing)
}

#[cfg(test)]
mod tests;
