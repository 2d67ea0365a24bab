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
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::{
    Backend, Corruption, Diagnostic, HostBatch, Lack, Layout, Loss, Need, RandomReplacement, Rng,
    StepContext, TokenTargets, Tokens,
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
    type Drawn = MaskedTokens;

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

    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> MaskedTokens {
        self.draw_tokens(&batch.layout(), context)
    }

    /// The mean loss over masked tokens whose target is known; of several heads, the sum.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let capabilities = model.capabilities();
        let (encoder, heads) = (capabilities.encode()?, capabilities.predict_tokens()?);
        let (device, metrics) = (model.device(batch), context.collect_metrics);
        let encoded = encoder.encode(batch, &drawn.corruption(&device), None);
        let loss_of = |(head, targets): (usize, TokenTargets<B>)| match targets {
            TokenTargets::Ids { ids } => {
                let head = TokenHead { model: heads, head };
                score_ids(head, encoded.values.clone(), ids, &drawn.chosen, metrics)
            }
            values => {
                let predicted = heads.predict(head, encoded.values.clone());
                self.score_values(predicted, values, &encoded, &drawn, metrics)
            }
        };
        let losses = heads.targets(batch).into_iter().enumerate().map(loss_of);
        Ok(match losses.reduce(sum_of_losses) {
            Some(loss) if metrics => drawn.with_diagnostics(loss, &encoded),
            Some(loss) => loss,
            None => Loss::empty(&device),
        })
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

    /// The loss of what was predicted of masked tokens, `[batch, tokens, target width]`, where targets
    /// are values.
    pub(crate) fn score_values<B: Backend>(
        &self,
        predicted: Tensor<B, 3>,
        targets: TokenTargets<B>,
        encoded: &Tokens<B>,
        drawn: &MaskedTokens,
        collect_metrics: bool,
    ) -> Loss<B> {
        let ignore = drawn.chosen.iter().map(|on| !on).collect();
        let ignore = uploaded(ignore, drawn.shape, &predicted.device());
        let ignore = match encoded.mask_pad.clone() {
            Some(pad) => ignore.bool_or(pad),
            None => ignore,
        };
        score(predicted, targets, Some(ignore), self.huber, collect_metrics)
    }

    /// Draws which tokens of a batch are masked, and what stands in their place: a mask, something
    /// else, or themselves.
    pub(crate) fn draw_tokens(
        &self,
        layout: &Layout,
        context: &mut StepContext<'_>,
    ) -> MaskedTokens {
        let rng = &mut *context.rng;
        let chosen = self.at(context.step).sample(layout, rng);
        let count = chosen.iter().filter(|on| **on).count() as f32;
        let share = count / layout.visible_tokens().max(1) as f32;
        let shape = [layout.batch, layout.tokens];
        let partly = self.replace_some(&chosen, rng);
        MaskedTokens { shape, chosen, share, partly }
    }

    /// Which of the tokens chosen are masked, and which are replaced; `None` where all are masked.
    fn replace_some(&self, chosen: &[bool], rng: &mut Rng) -> Option<Partly> {
        let visible = self.random_replacement + self.keep_unchanged;
        if visible == 0.0 {
            return None;
        }
        let (mut masked, mut replaced) = (chosen.to_vec(), vec![false; chosen.len()]);
        let mut uniform = vec![0.0; chosen.len()];
        for at in (0..chosen.len()).filter(|at| chosen[*at]) {
            let draw: f64 = rng.random();
            masked[at] = draw >= visible;
            replaced[at] = draw < self.random_replacement;
            if replaced[at] {
                uniform[at] = rng.random();
            }
        }
        Some(Partly { masked, replaced, uniform })
    }

    /// With the ratio of a step.
    fn at(&self, step: u64) -> Self {
        let ratio = self.decay.map_or(self.ratio, |decay| {
            let gone = (step as f64 / decay.steps.max(1) as f64).min(1.0);
            self.ratio + (decay.to - self.ratio) * gone
        });
        Self { ratio, ..self.clone() }
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

/// The masked tokens of a batch, as they were drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskedTokens {
    /// Sequences, and tokens of each.
    pub shape: [usize; 2],
    /// The tokens that are predicted, `[batch, tokens]` in row-major order.
    pub chosen: Vec<bool>,
    /// Their share of the tokens that are no padding.
    pub share: f32,
    /// Where not all of them are masked.
    partly: Option<Partly>,
}

/// Tokens of those that are predicted, `[batch, tokens]` each.
#[derive(Debug, Clone, PartialEq)]
struct Partly {
    masked: Vec<bool>,
    replaced: Vec<bool>,
    /// Uniform from 0 to below 1 where a token is replaced.
    uniform: Vec<f32>,
}

impl MaskedTokens {
    /// The corruption of the input, on a device.
    pub fn corruption<B: Backend>(&self, device: &B::Device) -> Corruption<B> {
        let upload = |tokens: &[bool]| uploaded(tokens.to_vec(), self.shape, device);
        let Some(Partly { masked, replaced, uniform }) = &self.partly else {
            return Corruption::masked(upload(&self.chosen));
        };
        let uniform = Tensor::from_data(TensorData::new(uniform.clone(), self.shape), device);
        let random_replacement = Some(RandomReplacement { tokens: upload(replaced), uniform });
        Corruption { random_replacement, ..Corruption::masked(upload(masked)) }
    }

    /// With the diagnostics of the encoder's output, and the share of masked tokens.
    pub(crate) fn with_diagnostics<B: Backend>(
        &self,
        loss: Loss<B>,
        encoded: &Tokens<B>,
    ) -> Loss<B> {
        let share = Tensor::from_floats([self.share], &encoded.values.device());
        with_token_diagnostics(loss, encoded).with_diagnostic(Diagnostic::MaskedShare, share)
    }
}

/// Whether a stretch of tokens lies in another.
fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// `[batch, tokens]` on a device.
pub(crate) fn uploaded<B: Backend>(
    tokens: Vec<bool>,
    shape: [usize; 2],
    device: &B::Device,
) -> Tensor<B, 2, Bool> {
    Tensor::from_data(TensorData::new(tokens, shape), device)
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
