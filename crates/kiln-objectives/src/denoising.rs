//! Sequence-to-sequence denoising: T5's span corruption (<https://arxiv.org/abs/1910.10683>), and
//! UL2's mixture of denoisers with a token for each mode (<https://arxiv.org/abs/2205.05131>).

use crate::{
    ObjectiveError, ObjectiveSpec,
    draw::drawn,
    losses::{scaled_loss, sum_of_losses},
    spec::DynModel,
};
use kiln_core::{Backend, HostBatch, Lack, Layout, Loss, Need, Rng, SourceTarget, StepContext};
use rand::{RngExt as _, seq::index::sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of denoising.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Denoising {
    /// One is drawn for each sequence; those of the `preset` if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denoisers: Vec<Denoiser>,
    /// A published set of them.
    pub preset: DenoiserSet,
    /// Whether a decoder sees all of what it goes on with at once, as a prefix.
    pub prefix_lm: bool,
}

/// Published sets of denoisers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DenoiserSet {
    /// T5's: short spans, few of them.
    #[default]
    T5,
    /// UL2's seven (its table 1), all as often: short spans and few of them (mode 0), long ones or
    /// many (mode 2), and the end (mode 1).
    Ul2,
}

impl DenoiserSet {
    /// What is in it.
    pub fn denoisers(self) -> Vec<Denoiser> {
        let spans = |length: f64, ratio: f64, mode: Option<usize>| {
            let kind = DenoiserKind::Spans(SpanNoise { ratio, length });
            Denoiser { kind, weight: 1.0, mode }
        };
        match self {
            Self::T5 => vec![spans(3.0, 0.15, None)],
            Self::Ul2 => {
                let regular = [3.0, 8.0].map(|length| spans(length, 0.15, Some(0)));
                let kind = DenoiserKind::Tail([0.25, 0.25]);
                let sequential = Denoiser { kind, weight: 1.0, mode: Some(1) };
                let extreme = [(3.0, 0.5), (8.0, 0.5), (64.0, 0.15), (64.0, 0.5)]
                    .map(|(length, ratio)| spans(length, ratio, Some(2)));
                [&regular[..], &[sequential], &extreme].concat()
            }
        }
    }
}

/// One way to take something out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denoiser {
    /// What is taken out.
    pub kind: DenoiserKind,
    /// How often it is drawn beside the others.
    #[serde(default = "crate::one")]
    pub weight: f64,
    /// What is read begins with this sentinel, counted from the last: it tells the model what is
    /// asked for. Nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<usize>,
}

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DenoiserKind {
    /// Spans anywhere, a sentinel in the place of each.
    Spans(SpanNoise),
    /// The end: a share drawn between these two. What is written follows the last sentinel of what
    /// is read, as a span.
    Tail([f64; 2]),
}

/// Spans that are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpanNoise {
    /// The share of tokens taken out.
    pub ratio: f64,
    /// The mean length of a span, tokens.
    pub length: f64,
}

impl Default for SpanNoise {
    fn default() -> Self {
        Self { ratio: 0.15, length: 3.0 }
    }
}

impl Default for Denoising {
    /// T5's.
    fn default() -> Self {
        Self { denoisers: Vec::new(), preset: DenoiserSet::default(), prefix_lm: true }
    }
}

impl ObjectiveSpec for Denoising {
    type Drawn = Vec<SourceTarget>;

    fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |key: &str, problem: String| Err(ObjectiveError::new(key, problem));
        let denoisers = self.each();
        if !denoisers.iter().any(|denoiser| denoiser.weight > 0.0) {
            return wrong(
                "denoising.denoisers",
                "has none with a weight above 0; expected at least one".into(),
            );
        }
        for Denoiser { kind, weight, .. } in &denoisers {
            if !(*weight >= 0.0 && weight.is_finite()) {
                let problem = format!("has the weight {weight}; expected 0 or more");
                return wrong("denoising.denoisers", problem);
            }
            let problem = match *kind {
                DenoiserKind::Spans(SpanNoise { ratio, length })
                    if !(ratio > 0.0 && ratio < 1.0 && length >= 1.0) =>
                {
                    format!(
                        "has spans of {length} tokens in {ratio} of all; expected at least 1, above 0 and below 1"
                    )
                }
                DenoiserKind::Tail([low, high]) if !(low > 0.0 && low <= high && high < 1.0) => {
                    format!(
                        "has a tail of [{low}, {high}]; expected rising shares above 0 and below 1"
                    )
                }
                _ => continue,
            };
            return wrong("denoising.denoisers", problem);
        }
        Ok(())
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::TokenTargets, Need::TokenIds, Need::Sentinels { modes: self.modes() }]
    }

    /// The pairs, of falling length.
    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Vec<SourceTarget> {
        let (layout, sentinels) = (batch.layout(), batch.sentinels());
        let mut pairs = self.pairs(&batch.token_ids(), &layout, &sentinels, context.rng);
        pairs.sort_by_key(|one| std::cmp::Reverse(size(one)));
        pairs
    }

    /// The mean cross-entropy of the targets.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        pairs: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let language = model.capabilities().language()?;
        // Short ones are not padded to the length of long ones: at most twofold.
        let mut losses = Vec::new();
        for alike in pairs.chunk_by(|one, other| size(one).ilog2() == size(other).ilog2()) {
            losses.push(language.seq2seq_loss(batch, alike.to_vec(), self.prefix_lm, context)?);
        }
        let count: usize = losses.iter().map(|loss| loss.count).sum();
        let shares = losses.into_iter().map(|loss| {
            let share = loss.count as f64 / count.max(1) as f64;
            scaled_loss(loss, share)
        });
        let mean = shares.reduce(sum_of_losses).map(|loss| Loss { count, ..loss });
        Ok(mean.unwrap_or_else(|| Loss::empty(&model.device(batch))))
    }
}

impl Denoising {
    /// The denoisers, of which one is drawn for each sequence.
    pub fn each(&self) -> Vec<Denoiser> {
        if self.denoisers.is_empty() { self.preset.denoisers() } else { self.denoisers.clone() }
    }

    /// The most tokens that source and target have together, of a sequence of so many: what a decoder
    /// that goes on after the source must have positions for, but for an end-of-sequence token.
    pub fn longest(&self, tokens: usize) -> usize {
        let sentinels = |denoiser: &Denoiser| match denoiser.kind {
            DenoiserKind::Tail(_) => 2,
            DenoiserKind::Spans(noise) => 2 * noise.counts(tokens, usize::MAX).1,
        };
        let mode = |denoiser: &Denoiser| usize::from(denoiser.mode.is_some());
        let added = self.each().into_iter().map(|one| sentinels(&one) + mode(&one)).max();
        tokens + added.unwrap_or(0)
    }

    /// How many of the last sentinels stand for modes.
    pub fn modes(&self) -> usize {
        modes(&self.each())
    }

    /// What is read and written of each document of each sequence, ids without padding: none is told
    /// of another.
    pub fn pairs(
        &self,
        sequences: &[Vec<u32>],
        layout: &Layout,
        sentinels: &[u32],
        rng: &mut Rng,
    ) -> Vec<SourceTarget> {
        let denoisers = self.each();
        let mut pairs = Vec::with_capacity(sequences.len());
        for (row, ids) in sequences.iter().enumerate() {
            let segments = layout.segments(row);
            let alone = segments.len() == 1;
            for ids in segments.into_iter().filter_map(|segment| ids.get(segment)) {
                // Of a token by itself nothing can be taken out.
                if alone || ids.len() > 1 {
                    pairs.push(corrupt(&denoisers, ids, sentinels, rng));
                }
            }
        }
        pairs
    }
}

/// What is read and written of a sequence, by one of some denoisers.
fn corrupt(denoisers: &[Denoiser], ids: &[u32], sentinels: &[u32], rng: &mut Rng) -> SourceTarget {
    let Some(drawn) = drawn(denoisers, |denoiser| denoiser.weight, rng) else {
        return SourceTarget::default();
    };
    // The last ones stand for modes.
    let spans = &sentinels[..sentinels.len() - modes(denoisers).min(sentinels.len())];
    let gone = match drawn.kind {
        DenoiserKind::Tail([low, high]) => {
            let share = low + (high - low) * rng.random::<f64>();
            let gone = (ids.len() as f64 * share).round() as usize;
            let gone = gone.clamp(usize::from(ids.len() > 1), ids.len().saturating_sub(1));
            std::iter::once(ids.len() - gone..ids.len()).collect()
        }
        DenoiserKind::Spans(noise) => noise.spans(ids.len(), spans.len(), rng),
    };
    let mode = drawn.mode.and_then(|mode| sentinels.iter().rev().nth(mode));
    let mut pair = SourceTarget { source: mode.copied().into_iter().collect(), target: Vec::new() };
    let mut kept = 0;
    for (span, sentinel) in gone.iter().zip(spans) {
        pair.source.extend(&ids[kept..span.start]);
        pair.source.push(*sentinel);
        pair.target.push(*sentinel);
        pair.target.extend(&ids[span.clone()]);
        kept = span.end;
    }
    pair.source.extend(&ids[kept..]);
    pair
}

/// How many modes some denoisers tell apart.
fn modes(denoisers: &[Denoiser]) -> usize {
    denoisers.iter().filter_map(|denoiser| Some(denoiser.mode? + 1)).max().unwrap_or(0)
}

/// Tokens read and written, at least one.
fn size(pair: &SourceTarget) -> usize {
    (pair.source.len() + pair.target.len()).max(1)
}

impl SpanNoise {
    /// How many of so many tokens are taken out, at least two of them there, and in how many spans.
    fn counts(self, tokens: usize, most: usize) -> (usize, usize) {
        let gone = (tokens as f64 * self.ratio).round() as usize;
        let gone = gone.clamp(1, tokens.saturating_sub(1).max(1));
        let spans = (gone as f64 / self.length).round() as usize;
        let limit = gone.min(tokens.saturating_sub(gone)).min(most).max(1);
        (gone, spans.clamp(1, limit))
    }

    /// Spans of a sequence, rising and apart: the tokens taken out and those left are each cut at
    /// random places into as many pieces, which take turns; the first is left.
    fn spans(self, tokens: usize, most: usize, rng: &mut Rng) -> Vec<std::ops::Range<usize>> {
        if tokens < 2 {
            return Vec::new();
        }
        let (gone, spans) = self.counts(tokens, most);
        let mut cut = |length: usize| {
            let mut ends: Vec<usize> = sample(rng, length - 1, spans - 1).into_iter().collect();
            ends.iter_mut().for_each(|end| *end += 1);
            ends.push(length);
            ends.sort_unstable();
            let starts = std::iter::once(0).chain(ends.clone());
            ends.iter().zip(starts).map(|(end, start)| end - start).collect::<Vec<_>>()
        };
        let (taken, left) = (cut(gone), cut(tokens - gone));
        let mut at = 0;
        let place = |(left, taken): (usize, usize)| {
            let start = at + left;
            at = start + taken;
            start..at
        };
        left.into_iter().zip(taken).map(place).collect()
    }
}

#[cfg(test)]
mod tests;
