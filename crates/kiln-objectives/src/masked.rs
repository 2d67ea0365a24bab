//! Hidden tokens are predicted from the rest: BERT's words (<https://arxiv.org/abs/1810.04805>),
//! PatchTST's patches (<https://arxiv.org/abs/2211.14730>), HuBERT's units
//! (<https://arxiv.org/abs/2106.07447>).

use crate::{
    ObjectiveError, Spans,
    draw::drawn,
    score::{score, score_ids},
    signs::with_token_signs,
};
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::{
    Backend, Disguise, Layout, Loss, Rng, Seed, Sign, StepContext, Targets, TokenModel, View,
};
use rand::{RngExt, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of masked prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Masked {
    /// The share of tokens hidden, above 0 and below 1.
    pub ratio: f64,
    /// Which tokens are hidden.
    pub kind: MaskedKind,
    /// Whether words of several tokens are hidden as a whole (<https://arxiv.org/abs/1906.08101>),
    /// where the data knows words; the ratio is then one of words.
    pub whole_words: bool,
    /// The share of what is hidden that is taken from the lexicon, where the data has one
    /// (`data.lexicon`): words of a field, hidden as a whole, before others are drawn
    /// (<https://arxiv.org/abs/2402.09151>).
    pub lexicon: f64,
    /// The ratio at the end of this many steps, towards which it moves from the first: hiding less
    /// and less. It stays the same if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<RatioDecay>,
    /// The share of the chosen tokens that are not hidden but exchanged for random ones, and still
    /// to be predicted; BERT's 0.1.
    pub random: f64,
    /// The share of the chosen tokens that are left as they are, and still to be predicted; BERT's
    /// 0.1.
    pub kept: f64,
    /// Whether the channels of an item share one mask.
    pub same_for_channels: bool,
    /// Where targets are values: errors beyond this count straight rather than squared.
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
            random: 0.0,
            kept: 0.0,
            same_for_channels: false,
            huber: None,
        }
    }
}

/// A ratio that moves, <https://arxiv.org/abs/2305.15096>.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatioDecay {
    /// Where it ends, above 0 and below 1.
    pub to: f64,
    /// After so many steps.
    pub steps: u64,
}

/// Which tokens are hidden.
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

impl Masked {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if !(self.ratio > 0.0 && self.ratio < 1.0) {
            return Err(ObjectiveError {
                key: "masked.ratio",
                problem: format!("is {}; expected above 0 and below 1", self.ratio),
            });
        }
        crate::check_huber("masked.huber", self.huber)?;
        if let Some(decay) = self.decay
            && !(decay.to > 0.0 && decay.to < 1.0)
        {
            let problem = format!("is {}; expected above 0 and below 1", decay.to);
            return Err(ObjectiveError { key: "masked.decay.to", problem });
        }
        if !(0.0..=1.0).contains(&self.lexicon) {
            let problem = format!("is {}; expected 0 to 1", self.lexicon);
            return Err(ObjectiveError { key: "masked.lexicon", problem });
        }
        for (key, share) in [("masked.random", self.random), ("masked.kept", self.kept)] {
            if !(share >= 0.0 && self.random + self.kept <= 1.0) {
                let problem = format!("is {share}; expected 0 to 1, with its twin");
                return Err(ObjectiveError { key, problem });
            }
        }
        let key = match self.kind {
            MaskedKind::Block(0) => "masked.kind.block",
            MaskedKind::Ngrams(0) => "masked.kind.ngrams",
            MaskedKind::Spans(0) => "masked.kind.spans",
            _ => return Ok(()),
        };
        Err(ObjectiveError { key, problem: "is 0; expected at least 1".into() })
    }

    /// The mean loss over hidden tokens whose target is known.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        self.loss_against(model.targets(batch), |x| model.decode(x), model, batch, context)
    }

    /// The same with targets from elsewhere; where they are values, `head` makes them of the
    /// backbone's output.
    pub(crate) fn loss_against<B: Backend, M: TokenModel<B>>(
        &self,
        targets: Targets<B>,
        head: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let (view, chosen) = self.hide(model, batch, context);
        let visible: usize = (0..layout.batch).map(|sequence| layout.length(sequence)).sum();
        let share = chosen.iter().filter(|h| **h).count() as f32 / visible.max(1) as f32;
        let device = model.device(batch);
        let encoded = model.encode(batch, view);
        let loss = match targets {
            Targets::Ids { ids, .. } => {
                let values = encoded.values.clone();
                score_ids(model, values, ids, &chosen, context.observe)
            }
            targets => {
                let ignore =
                    uploaded(chosen.iter().map(|chosen| !chosen).collect(), &layout, &device);
                let ignore = match encoded.mask_pad.clone() {
                    Some(pad) => ignore.bool_or(pad),
                    None => ignore,
                };
                let decoded = head(encoded.values.clone());
                score(decoded, targets, Some(ignore), self.huber, context.observe)
            }
        };
        if context.observe {
            with_token_signs(loss, &encoded)
                .with_sign(Sign::MaskedShare, Tensor::from_floats([share], &device))
        } else {
            loss
        }
    }

    /// A view of a batch, and which tokens were chosen, `[batch, tokens]` in row-major order.
    pub fn hide<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> (View<B>, Vec<bool>) {
        let layout = model.layout(batch);
        let device = model.device(batch);
        let chosen = self.at(context.step).sample(&layout, context.rng);
        let view = self.view(&chosen, |tokens| uploaded(tokens, &layout, &device), context.rng);
        (view, chosen)
    }

    /// With the ratio of a step.
    fn at(&self, step: u64) -> Self {
        let ratio = self.decay.map_or(self.ratio, |decay| {
            let gone = (step as f64 / decay.steps.max(1) as f64).min(1.0);
            self.ratio + (decay.to - self.ratio) * gone
        });
        Self { ratio, ..self.clone() }
    }

    /// What the model sees of the chosen tokens: nothing, something else, or all.
    fn view<B: Backend>(
        &self,
        chosen: &[bool],
        upload: impl Fn(Vec<bool>) -> Tensor<B, 2, Bool>,
        rng: &mut Rng,
    ) -> View<B> {
        if self.random + self.kept == 0.0 {
            return View::hiding(upload(chosen.to_vec()));
        }
        let (mut hidden, mut disguised) = (chosen.to_vec(), vec![false; chosen.len()]);
        for at in (0..chosen.len()).filter(|at| chosen[*at]) {
            let draw: f64 = rng.random();
            hidden[at] = draw >= self.random + self.kept;
            disguised[at] = draw < self.random;
        }
        let seed = Seed::new(rng.random());
        let disguise = Some(Disguise { tokens: upload(disguised), seed });
        View { disguise, ..View::hiding(upload(hidden)) }
    }

    /// Draws which tokens are hidden, `[batch, tokens]` in row-major order; neither padding nor
    /// what is fixed ever is.
    fn sample(&self, layout: &Layout, rng: &mut Rng) -> Vec<bool> {
        let repeat = if self.same_for_channels { layout.channels.max(1) } else { 1 };
        let mut hidden = Vec::with_capacity(layout.batch * layout.tokens);
        for sequence in (0..layout.batch).step_by(repeat) {
            let mut units = layout.units(sequence, self.whole_words);
            let segments = layout.segments(sequence);
            let mut row = vec![false; layout.tokens];
            let mut hide = self.count(units.len());
            if self.lexicon > 0.0 {
                let mut terms = layout.terms(sequence);
                terms.retain(|term| segments.iter().any(|segment| within(term, segment)));
                hide -= self.hide_terms(&terms, hide, &mut row, rng);
                // What is left to hide, of what is left.
                units.retain(|unit| !row[unit.clone()].contains(&true));
                hide = hide.min(units.len());
            }
            // Each document has its part, and no run goes from one to the next.
            let (all, alone) = (units.len(), segments.len() == 1);
            let (mut seen, mut given) = (0, 0);
            for segment in &segments {
                let units = units.iter().filter(|unit| within(unit, segment));
                let units: Vec<&Range<usize>> = units.collect();
                seen += units.len();
                let part = (hide * seen + all / 2) / all.max(1) - given;
                given += part;
                let drawn = self.sample_row(units.len(), part, alone, rng);
                for (unit, hide) in units.into_iter().zip(drawn) {
                    row[unit.clone()].fill(hide);
                }
            }
            for _ in 0..repeat {
                hidden.extend_from_slice(&row);
            }
        }
        hidden.truncate(layout.batch * layout.tokens);
        hidden
    }

    /// How many of so many units are hidden: at least one hidden and one seen, where there are two.
    fn count(&self, units: usize) -> usize {
        let hide = (units as f64 * self.ratio).round() as usize;
        hide.clamp(usize::from(units > 1), units.saturating_sub(1))
    }

    /// Hides terms drawn of a sequence's up to their share of `hide` tokens; how many it hid.
    fn hide_terms(
        &self,
        terms: &[Range<usize>],
        hide: usize,
        row: &mut [bool],
        rng: &mut Rng,
    ) -> usize {
        let room = (hide as f64 * self.lexicon).round() as usize;
        let mut order: Vec<&Range<usize>> = terms.iter().collect();
        order.shuffle(rng);
        let mut hidden = 0;
        for term in order {
            if hidden + term.len() <= room {
                row[term.clone()].fill(true);
                hidden += term.len();
            }
        }
        hidden
    }

    /// Which of so many units of a document are hidden; whether it is `alone` in its sequence.
    fn sample_row(&self, units: usize, hide: usize, alone: bool, rng: &mut Rng) -> Vec<bool> {
        let mut row = vec![false; units];
        match self.kind {
            MaskedKind::Spans(length) => {
                let spans = Spans { probability: self.ratio, length, ..Spans::default() };
                // The least is one of whole sequences.
                let spans = if alone { spans } else { Spans { least: 0, ..spans } };
                return spans.sample_row(units, rng);
            }
            MaskedKind::Tail => row[units - hide..].fill(true),
            MaskedKind::Random => {
                row[..hide].fill(true);
                row.shuffle(rng);
            }
            MaskedKind::Block(length) => fill_runs(&mut row, hide, rng, |_| length.max(1)),
            MaskedKind::Ngrams(most) => {
                let lengths = 1..=most.max(1);
                fill_runs(&mut row, hide, rng, |rng| {
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

/// Hides `hide` of a row in runs whose lengths are drawn.
fn fill_runs(row: &mut [bool], hide: usize, rng: &mut Rng, length: impl Fn(&mut Rng) -> usize) {
    let mut left = hide;
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
