//! Contrastive prediction of quantized features: wav2vec 2.0, <https://arxiv.org/abs/2006.11477>.
//!
//! The loss of a masked token is `-ln(exp(s₀ / κ) / Σₖ exp(sₖ / κ))` over the cosines `s` of what is
//! predicted with its own code and with the codes of K distractors: tokens drawn from the others
//! masked in the same sequence. Distractors with the very code of the token are left out, as in
//! fairseq and transformers. Added are a share of what the codebooks lack in diversity, and of the
//! frontend's power.

use crate::{
    ObjectiveError, ObjectiveSpec, Spans,
    diagnostics::with_token_diagnostics,
    info_nce::unit,
    losses::{accuracy, cross_entropy},
    masked::uploaded,
    spec::{DynModel, check, check_count, check_positive, check_weight},
};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{
    Backend, Corruption, Diagnostic, HostBatch, Lack, Layout, Loss, Need, Quantized, Rng,
    StepContext,
};
use kiln_kernels::MASK_VALUE;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the contrastive objective of wav2vec 2.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wav2vec2Contrastive {
    /// Which tokens are masked.
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

impl Default for Wav2vec2Contrastive {
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

impl ObjectiveSpec for Wav2vec2Contrastive {
    type Drawn = MaskedFrames;

    fn validate(&self) -> Result<(), ObjectiveError> {
        self.spans.validate("wav2vec2-contrastive.spans")?;
        check_count("wav2vec2-contrastive.negatives", self.negatives)?;
        let Gumbel { start, end, decay } = self.gumbel;
        check_positive("wav2vec2-contrastive.temperature", self.temperature)?;
        check_positive("wav2vec2-contrastive.gumbel.start", start)?;
        check_positive("wav2vec2-contrastive.gumbel.end", end)?;
        check_weight("wav2vec2-contrastive.diversity_weight", self.diversity_weight)?;
        check_weight("wav2vec2-contrastive.feature_penalty", self.feature_penalty)?;
        let key = "wav2vec2-contrastive.gumbel.decay";
        check(decay > 0.0 && decay <= 1.0, key, decay, "above 0, at most 1")
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Quantizer, Need::MaskTokens, Need::Bidirectional]
    }

    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> MaskedFrames {
        let layout = batch.layout();
        let masked = self.spans.sample(&layout, context.rng);
        let candidates = Candidates::draw(&masked, &layout, self.negatives, context.rng);
        let picked = candidates.picked(layout.tokens);
        let share = picked.len() as f32 / layout.visible_tokens().max(1) as f32;
        MaskedFrames { masked, shape: [layout.batch, layout.tokens], candidates, picked, share }
    }

    /// The mean loss over masked tokens that have distractors.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let quantizer = model.capabilities().quantize()?;
        let MaskedFrames { masked, shape, candidates, picked, share } = drawn;
        if picked.is_empty() {
            return Ok(Loss::empty(&device));
        }
        let corruption = Corruption::masked(uploaded(masked, shape, &device));
        let temperature =
            kiln_kernels::is_training::<B>(&device).then(|| self.gumbel.at(context.step));
        let quantized = quantizer.quantize(batch, &corruption, &picked, temperature, context.rng);
        let matched = contrastive_loss(&quantized, &candidates, self.temperature);
        let (perplexity, diversity) = diversity(quantized.usage.clone());
        let rest = diversity.mul_scalar(self.diversity_weight)
            + quantized.power.clone().mul_scalar(self.feature_penalty);
        let loss = Loss::new(matched.value.clone() + rest.clone(), matched.count);
        if !context.collect_metrics {
            return Ok(loss);
        }
        let choices = (self.negatives + 1) as f32;
        let [groups, _] = quantized.usage.dims();
        let one = |value: f32| Tensor::from_floats([value], &device);
        Ok(with_token_diagnostics(loss, &quantized.tokens)
            .with_diagnostic(Diagnostic::BaselineLoss, rest.add_scalar(choices.ln()))
            .with_diagnostic(Diagnostic::ContrastiveLoss, matched.value)
            .with_diagnostic(Diagnostic::Accuracy, matched.accuracy)
            .with_diagnostic(Diagnostic::ChanceAccuracy, one(1.0 / choices))
            .with_diagnostic(Diagnostic::CodebookPerplexity, perplexity)
            .with_diagnostic(Diagnostic::CollapsedPerplexity, one(groups as f32))
            .with_diagnostic(Diagnostic::MaskedShare, one(share)))
    }
}

/// The masked tokens of a batch, and among which others the code of each is looked for.
#[derive(Clone, Debug)]
pub struct MaskedFrames {
    /// `[batch, tokens]` in row-major order.
    masked: Vec<bool>,
    /// Sequences, and tokens of each.
    shape: [usize; 2],
    candidates: Candidates,
    /// The masked tokens as rows of `[batch * tokens]`, ascending.
    picked: Vec<usize>,
    /// Their share of the tokens that are no padding.
    share: f32,
}

/// Masked tokens and the distractors of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// The masked tokens of each sequence, ascending.
    pub masked: Vec<Vec<usize>>,
    /// For each sequence the distractors of its masked tokens, as many for each, one after the
    /// other: numbers into `masked` of that sequence.
    pub distractors: Vec<Vec<usize>>,
}

impl Candidates {
    /// Draws distractors, uniformly and with replacement from the other masked tokens of the same
    /// sequence; `masked` is `[batch, tokens]` in row-major order. A token masked alone has none.
    pub fn draw(masked: &[bool], layout: &Layout, negatives: usize, rng: &mut Rng) -> Self {
        let rows = masked.chunks(layout.tokens.max(1)).take(layout.batch);
        let masked: Vec<Vec<usize>> = rows
            .map(|row| row.iter().enumerate().filter(|(_, on)| **on).map(|(at, _)| at))
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
        let distractors = masked.iter().map(draw).collect();
        Self { masked, distractors }
    }

    /// The masked tokens as rows of `[batch * tokens]`, ascending.
    pub fn picked(&self, tokens: usize) -> Vec<usize> {
        let rows = self.masked.iter().enumerate();
        rows.flat_map(|(row, hidden)| hidden.iter().map(move |at| row * tokens + at)).collect()
    }

    /// The most tokens that are masked in a sequence.
    fn most(&self) -> usize {
        self.masked.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// `[batch, most, most]` in row-major order: the logarithm of how often a masked token (column)
    /// is a candidate of another (row). A distractor drawn twice counts twice in the sum.
    fn log_counts(&self) -> Vec<f32> {
        let most = self.most();
        let mut counts = vec![0u32; self.masked.len() * most * most];
        let sequences = self.masked.iter().zip(&self.distractors);
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
    /// Masked tokens that have distractors.
    pub count: usize,
    /// `[1]`, the share of them whose own code comes first.
    pub accuracy: Tensor<B, 1>,
}

/// How well predictions match their own codes among those of their distractors.
///
/// All cosines of a sequence are taken at once, so that the codes of distractors are never copied.
/// The rows of `quantized` are those of [`Candidates::picked`].
pub fn contrastive_loss<B: Backend>(
    quantized: &Quantized<B>,
    candidates: &Candidates,
    temperature: f64,
) -> Matched<B> {
    let device = quantized.codes.device();
    let (batch, most) = (candidates.masked.len(), candidates.most());
    let places = Places::new(candidates, &device);
    let predictions = places.lay_out(unit(quantized.predictions.clone()));
    let codes = places.lay_out(unit(quantized.codes.clone()));
    let square = [batch, most, most];
    let counts = Tensor::from_data(TensorData::new(candidates.log_counts(), square), &device);
    let cosines = predictions.matmul(codes.swap_dims(1, 2));
    let logits = cosines.div_scalar(temperature) + counts;
    let logits = logits.mask_fill(places.same_code(quantized.entries.clone()), MASK_VALUE);
    let logits = logits.reshape([batch * most, most]);
    let own = (0..batch * most).map(|row| (row % most.max(1)) as i64).collect::<Vec<_>>();
    let own = Tensor::<B, 1, Int>::from_data(TensorData::new(own, [batch * most]), &device);
    let (value, count) = cross_entropy(logits.clone(), own.clone(), Some(places.ignore.clone()));
    let accuracy = accuracy(logits.detach(), own, Some(places.ignore));
    Matched { value, count, accuracy }
}

/// Where the rows of a [`Quantized`] stand in `[batch, most]`.
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
        let (batch, most) = (candidates.masked.len(), candidates.most());
        let (mut rows, mut ignore) = (vec![0i64; batch * most], vec![true; batch * most]);
        let mut next = 0;
        for (sequence, hidden) in candidates.masked.iter().enumerate() {
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
