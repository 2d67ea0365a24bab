//! Masked prediction: masked tokens are predicted from the rest, as BERT's words (<https://arxiv.org/abs/1810.04805>),
//! PatchTST's patches (<https://arxiv.org/abs/2211.14730>), HuBERT's units
//! (<https://arxiv.org/abs/2106.07447>).

use crate::{
    ObjectiveError, ObjectiveSpec, Spans,
    diagnostics::with_token_diagnostics,
    draw::drawn,
    losses::sum_of_losses,
    score::{TokenHead, score, score_ids},
    spec::{DynModel, check, check_count, check_positive, check_ratio},
};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{
    Backend, Corruption, Diagnostic, Lack, Layout, Loss, Need, RandomReplacement, Rng, Seed,
    StepContext, TokenTargets,
};
use rand::{RngExt, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of masked prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Masked {
    /// Mask ratio: the share of tokens masked, above 0 and below 1.
    pub ratio: f64,
    /// How masked tokens are drawn.
    pub kind: MaskedKind,
    /// Whole-word masking (<https://arxiv.org/abs/1906.08101>), where the data knows words; the ratio
    /// is then one of words.
    pub whole_words: bool,
    /// The share of masked tokens that is taken from the lexicon, where the data has one
    /// (`data.lexicon`): words of a field, masked as a whole, before others are drawn
    /// (<https://arxiv.org/abs/2402.09151>).
    pub lexicon: f64,
    /// Mask ratio decay: the ratio at the end of this many steps, towards which it moves linearly
    /// from the first. It stays the same if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<RatioDecay>,
    /// The share of the chosen tokens that are replaced at random instead of masked, and still
    /// predicted; BERT's 0.1.
    pub random_replacement: f64,
    /// The share of the chosen tokens that are kept unchanged, and still predicted; BERT's 0.1.
    pub keep_unchanged: f64,
    /// Whether the channels of an item share one mask.
    pub same_for_channels: bool,
    /// Huber's delta, where targets are values: errors beyond it count linearly rather than squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huber: Option<f64>,
}

impl Default for Masked {
    fn default() -> Self {
        Self {
            ratio: 0.4,
            kind: MaskedKind::Random,
            whole_words: false,
            lexicon: 0.0,
            decay: None,
            random_replacement: 0.0,
            keep_unchanged: 0.0,
            same_for_channels: false,
            huber: None,
        }
    }
}

/// Decay of the mask ratio, <https://arxiv.org/abs/2305.15096>.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatioDecay {
    /// Where it ends, above 0 and below 1.
    pub to: f64,
    /// After so many steps.
    pub steps: u64,
}

/// How masked tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaskedKind {
    /// Single tokens anywhere.
    Random,
    /// Runs of this many tokens anywhere.
    Block(usize),
    /// Runs of one to this many tokens anywhere, short ones more often: each length as often as one
    /// by it, as in MacBERT (<https://arxiv.org/abs/2004.13922>).
    Ngrams(usize),
    /// Runs of this many tokens that may overlap: as many as would make up the ratio if they did
    /// not, see [`Spans`].
    Spans(usize),
    /// The last tokens, of each document where there are several: forecasting as infilling.
    Tail,
}

impl ObjectiveSpec for Masked {
    fn validate(&self) -> Result<(), ObjectiveError> {
        check_ratio("masked.ratio", self.ratio)?;
        if let Some(delta) = self.huber {
            check_positive("masked.huber", delta)?;
        }
        if let Some(decay) = self.decay {
            check_ratio("masked.decay.to", decay.to)?;
        }
        check((0.0..=1.0).contains(&self.lexicon), "masked.lexicon", self.lexicon, "0 to 1")?;
        let visible = self.random_replacement + self.keep_unchanged;
        for (key, share) in [
            ("masked.random_replacement", self.random_replacement),
            ("masked.keep_unchanged", self.keep_unchanged),
        ] {
            check(share >= 0.0 && visible <= 1.0, key, share, "0 to 1, together with its twin")?;
        }
        match self.kind {
            MaskedKind::Block(length) => check_count("masked.kind.block", length),
            MaskedKind::Ngrams(length) => check_count("masked.kind.ngrams", length),
            MaskedKind::Spans(length) => check_count("masked.kind.spans", length),
            MaskedKind::Random | MaskedKind::Tail => Ok(()),
        }
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::TokenTargets];
        needs.extend(self.corruption_needs());
        needs
    }

    /// The mean loss over masked tokens whose target is known; of several heads, the sum.
    fn loss<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let heads = model.capabilities().predict_tokens()?;
        let predict = |head, hidden| heads.predict(head, hidden);
        let ids = |head, hidden: Tensor<B, 3>, ids, chosen: &[bool], collect_metrics| {
            let head = TokenHead { model: heads, head };
            score_ids(head, hidden, ids, chosen, collect_metrics)
        };
        self.loss_against(heads.targets(batch), predict, ids, model, batch, context)
    }
}

impl Masked {
    /// What masking needs of a model, whatever is predicted.
    pub(crate) fn corruption_needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::MaskTokens, Need::Bidirectional];
        if self.random_replacement + self.keep_unchanged > 0.0 {
            needs.push(Need::RandomReplacement);
        }
        needs
    }

    /// The loss over masked tokens of targets from anywhere, the sum over their heads: `predict` and
    /// `score_ids` read the head of a number off hidden states.
    pub(crate) fn loss_against<B: Backend, T>(
        &self,
        targets: Vec<TokenTargets<B>>,
        predict: impl Fn(usize, Tensor<B, 3>) -> Tensor<B, 3>,
        score_ids: impl Fn(usize, Tensor<B, 3>, Tensor<B, 2, Int>, &[bool], bool) -> Loss<B>,
        model: &DynModel<'_, B, T>,
        batch: &T,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let encoder = model.capabilities().encode()?;
        let device = model.device(batch);
        let layout = encoder.layout(batch);
        let (corruption, chosen) = self.corrupt(&layout, &device, context);
        let share = chosen.iter().filter(|on| **on).count() as f32;
        let share = share / layout.visible_tokens().max(1) as f32;
        let encoded = encoder.encode(batch, &corruption, None);
        let hidden = &encoded.values;
        let loss_of = |(head, targets): (usize, TokenTargets<B>)| match targets {
            TokenTargets::Ids { ids } => {
                score_ids(head, hidden.clone(), ids, &chosen, context.collect_metrics)
            }
            values => {
                let ignore = uploaded(chosen.iter().map(|on| !on).collect(), &layout, &device);
                let ignore = match encoded.mask_pad.clone() {
                    Some(pad) => ignore.bool_or(pad),
                    None => ignore,
                };
                let predicted = predict(head, hidden.clone());
                score(predicted, values, Some(ignore), self.huber, context.collect_metrics)
            }
        };
        let losses = targets.into_iter().enumerate().map(loss_of);
        let Some(loss) = losses.reduce(sum_of_losses) else { return Ok(Loss::empty(&device)) };
        if !context.collect_metrics {
            return Ok(loss);
        }
        let share = Tensor::from_floats([share], &device);
        Ok(with_token_diagnostics(loss, &encoded).with_diagnostic(Diagnostic::MaskedShare, share))
    }

    /// The corruption of a batch, and which tokens were chosen, `[batch, tokens]` in row-major order.
    pub fn corrupt<B: Backend>(
        &self,
        layout: &Layout,
        device: &B::Device,
        context: &mut StepContext<'_>,
    ) -> (Corruption<B>, Vec<bool>) {
        let chosen = self.at(context.step).sample(layout, context.rng);
        let upload = |tokens| uploaded(tokens, layout, device);
        let corruption = self.corruption(&chosen, upload, context.rng);
        (corruption, chosen)
    }

    /// With the ratio of a step.
    fn at(&self, step: u64) -> Self {
        let ratio = self.decay.map_or(self.ratio, |decay| {
            let gone = (step as f64 / decay.steps.max(1) as f64).min(1.0);
            self.ratio + (decay.to - self.ratio) * gone
        });
        Self { ratio, ..self.clone() }
    }

    /// What stands in the place of the chosen tokens: a mask, something else, or themselves.
    fn corruption<B: Backend>(
        &self,
        chosen: &[bool],
        upload: impl Fn(Vec<bool>) -> Tensor<B, 2, Bool>,
        rng: &mut Rng,
    ) -> Corruption<B> {
        let visible = self.random_replacement + self.keep_unchanged;
        if visible == 0.0 {
            return Corruption::masked(upload(chosen.to_vec()));
        }
        let (mut masked, mut replaced) = (chosen.to_vec(), vec![false; chosen.len()]);
        for at in (0..chosen.len()).filter(|at| chosen[*at]) {
            let draw: f64 = rng.random();
            masked[at] = draw >= visible;
            replaced[at] = draw < self.random_replacement;
        }
        let seed = Seed::new(rng.random());
        let random_replacement = Some(RandomReplacement { tokens: upload(replaced), seed });
        Corruption { random_replacement, ..Corruption::masked(upload(masked)) }
    }

    /// Draws which tokens are masked, `[batch, tokens]` in row-major order; neither padding nor
    /// special tokens ever are.
    fn sample(&self, layout: &Layout, rng: &mut Rng) -> Vec<bool> {
        let repeat = if self.same_for_channels { layout.channels.max(1) } else { 1 };
        let mut hidden = Vec::with_capacity(layout.batch * layout.tokens);
        for sequence in (0..layout.batch).step_by(repeat) {
            let mut units = layout.units(sequence, self.whole_words);
            let segments = layout.segments(sequence);
            let mut row = vec![false; layout.tokens];
            let mut count = self.count(units.len());
            if self.lexicon > 0.0 {
                let mut spans = layout.lexicon_spans(sequence);
                spans.retain(|span| segments.iter().any(|segment| within(span, segment)));
                count -= self.mask_lexicon(&spans, count, &mut row, rng);
                // The rest of the count, of the other units.
                units.retain(|unit| !row[unit.clone()].contains(&true));
                count = count.min(units.len());
            }
            // Each document has its part, and no run goes from one to the next.
            let (all, alone) = (units.len(), segments.len() == 1);
            let (mut seen, mut given) = (0, 0);
            for segment in &segments {
                let units = units.iter().filter(|unit| within(unit, segment));
                let units: Vec<&Range<usize>> = units.collect();
                seen += units.len();
                let part = (count * seen + all / 2) / all.max(1) - given;
                given += part;
                let drawn = self.sample_row(units.len(), part, alone, rng);
                for (unit, on) in units.into_iter().zip(drawn) {
                    row[unit.clone()].fill(on);
                }
            }
            for _ in 0..repeat {
                hidden.extend_from_slice(&row);
            }
        }
        hidden.truncate(layout.batch * layout.tokens);
        hidden
    }

    /// How many of so many units are masked: at least one masked and one visible, where there are two.
    fn count(&self, units: usize) -> usize {
        let count = (units as f64 * self.ratio).round() as usize;
        count.clamp(usize::from(units > 1), units.saturating_sub(1))
    }

    /// Masks lexicon spans drawn of a sequence's, up to their share of `count` tokens; how many tokens
    /// it masked.
    fn mask_lexicon(
        &self,
        spans: &[Range<usize>],
        count: usize,
        row: &mut [bool],
        rng: &mut Rng,
    ) -> usize {
        let budget = (count as f64 * self.lexicon).round() as usize;
        let mut order: Vec<&Range<usize>> = spans.iter().collect();
        order.shuffle(rng);
        let mut masked = 0;
        for span in order {
            if masked + span.len() <= budget {
                row[span.clone()].fill(true);
                masked += span.len();
            }
        }
        masked
    }

    /// Which of so many units of a document are masked, `count` of them; whether it is `alone` in its sequence.
    fn sample_row(&self, units: usize, count: usize, alone: bool, rng: &mut Rng) -> Vec<bool> {
        let mut row = vec![false; units];
        match self.kind {
            MaskedKind::Spans(length) => {
                let spans = Spans { probability: self.ratio, length, ..Spans::default() };
                // The least is one of whole sequences.
                let spans = if alone { spans } else { Spans { least: 0, ..spans } };
                return spans.sample_row(units, rng);
            }
            MaskedKind::Tail => row[units - count..].fill(true),
            MaskedKind::Random => {
                row[..count].fill(true);
                row.shuffle(rng);
            }
            MaskedKind::Block(length) => fill_runs(&mut row, count, rng, |_| length.max(1)),
            MaskedKind::Ngrams(most) => {
                let lengths = 1..=most.max(1);
                fill_runs(&mut row, count, rng, |rng| {
                    drawn(lengths.clone(), |length| 1.0 / *length as f64, rng).unwrap_or(1)
                });
            }
        }
        row
    }
}

/// Whether a stretch of tokens lies in another.
fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// `[batch, tokens]` on a device.
pub(crate) fn uploaded<B: Backend>(
    tokens: Vec<bool>,
    layout: &Layout,
    device: &B::Device,
) -> Tensor<B, 2, Bool> {
    Tensor::from_data(TensorData::new(tokens, [layout.batch, layout.tokens]), device)
}

/// Masks `count` of a row in runs whose lengths are drawn.
fn fill_runs(row: &mut [bool], count: usize, rng: &mut Rng, length: impl Fn(&mut Rng) -> usize) {
    let mut left = count;
    while left > 0 {
        let start = rng.random_range(0..row.len());
        let length = length(rng);
        for hidden in row.iter_mut().skip(start).take(length) {
            if left > 0 && !*hidden {
                *hidden = true;
                left -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
