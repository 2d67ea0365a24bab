//! What was taken out of a sequence is written anew: T5's span corruption
//! (<https://arxiv.org/abs/1910.10683>), and UL2's mixture of denoisers with a token for each mode
//! (<https://arxiv.org/abs/2205.05131>).

use crate::{ObjectiveError, draw::drawn};
use kiln_core::{Backend, Loss, Rewrite, Rng, StepContext, TokenModel};
use rand::{RngExt as _, seq::index::sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of denoising.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Denoising {
    /// One is drawn for each sequence.
    pub denoisers: Vec<Denoiser>,
    /// Whether a decoder sees all of what it goes on with at once, as a prefix.
    pub whole: bool,
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
        let kind = DenoiserKind::Spans(SpanNoise::default());
        Self { denoisers: vec![Denoiser { kind, weight: 1.0, mode: None }], whole: true }
    }
}

impl Denoising {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |key, problem| Err(ObjectiveError { key, problem });
        if !self.denoisers.iter().any(|denoiser| denoiser.weight > 0.0) {
            return wrong(
                "denoising.denoisers",
                "has none with a weight above 0; expected at least one".into(),
            );
        }
        for Denoiser { kind, weight, .. } in &self.denoisers {
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

    /// The mean loss of what is written; a batch that is not made of ids counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let sentinels = model.sentinels();
        let rewrites = model.sequences(batch).map(|sequences| {
            let rewrite = |ids: Vec<u32>| self.rewrite(&ids, &sentinels, context.rng);
            sequences.into_iter().map(rewrite).collect()
        });
        rewrites
            .and_then(|rewrites| model.write_loss(batch, rewrites, self.whole, context))
            .unwrap_or_else(|| Loss::nothing(&model.device(batch)))
    }

    /// What is read and written of a sequence.
    fn rewrite(&self, ids: &[u32], sentinels: &[u32], rng: &mut Rng) -> Rewrite {
        let Some(drawn) = drawn(&self.denoisers, |denoiser| denoiser.weight, rng) else {
            return Rewrite::default();
        };
        let gone = match drawn.kind {
            DenoiserKind::Tail([low, high]) => {
                let share = low + (high - low) * rng.random::<f64>();
                let gone = (ids.len() as f64 * share).round() as usize;
                let gone = gone.clamp(usize::from(ids.len() > 1), ids.len().saturating_sub(1));
                std::iter::once(ids.len() - gone..ids.len()).collect()
            }
            DenoiserKind::Spans(noise) => noise.spans(ids.len(), sentinels.len(), rng),
        };
        let mode = drawn.mode.and_then(|mode| sentinels.iter().rev().nth(mode));
        let mut rewrite = Rewrite { read: mode.copied().into_iter().collect(), write: Vec::new() };
        let mut kept = 0;
        for (span, sentinel) in gone.iter().zip(sentinels) {
            rewrite.read.extend(&ids[kept..span.start]);
            rewrite.read.push(*sentinel);
            rewrite.write.push(*sentinel);
            rewrite.write.extend(&ids[span.clone()]);
            kept = span.end;
        }
        rewrite.read.extend(&ids[kept..]);
        rewrite
    }
}

impl SpanNoise {
    /// Spans of a sequence, rising and apart: the tokens taken out and those left are each cut at
    /// random places into as many pieces, which take turns; the first is left.
    fn spans(self, tokens: usize, most: usize, rng: &mut Rng) -> Vec<std::ops::Range<usize>> {
        if tokens < 2 {
            return Vec::new();
        }
        let gone = ((tokens as f64 * self.ratio).round() as usize).clamp(1, tokens - 1);
        let spans = (gone as f64 / self.length).round() as usize;
        let spans = spans.clamp(1, gone.min(tokens - gone).min(most.max(1)));
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
mod tests {
    use super::*;
    use kiln_core::Seed;

    /// What was read and written, put together again.
    fn together(rewrite: &Rewrite, sentinels: &[u32]) -> Vec<u32> {
        let mut spans = std::collections::HashMap::new();
        let mut current = None;
        for id in &rewrite.write {
            if sentinels.contains(id) {
                current = Some(*id);
                spans.insert(*id, Vec::new());
            } else {
                spans.get_mut(&current.unwrap()).unwrap().push(*id);
            }
        }
        let put = |id: &u32| spans.get(id).cloned().unwrap_or_else(|| vec![*id]);
        rewrite.read.iter().flat_map(put).collect()
    }

    #[test]
    fn nothing_is_lost_and_the_share_is_right() {
        let sentinels: Vec<u32> = (900..1000).rev().collect();
        let ids: Vec<u32> = (0..200).collect();
        for seed in 0..20 {
            let mut rng = Seed::new(seed).rng();
            let rewrite = Denoising::default().rewrite(&ids, &sentinels, &mut rng);
            assert_eq!(together(&rewrite, &sentinels), ids);
            let spans = rewrite.write.iter().filter(|id| **id >= 900).count();
            assert_eq!((rewrite.write.len() - spans, spans), (30, 10));
            assert!(rewrite.read[0] == 0 && rewrite.write[0] == 999);
        }
    }

    #[test]
    fn modes_and_tails() {
        let tail = Denoiser { kind: DenoiserKind::Tail([0.5, 0.5]), weight: 1.0, mode: Some(1) };
        let denoising = Denoising { denoisers: vec![tail], whole: true };
        denoising.validate().unwrap();
        let found = denoising.rewrite(&[1, 2, 3, 4], &[9, 8, 7], &mut Seed::new(0).rng());
        assert_eq!(found, Rewrite { read: vec![8, 1, 2, 9], write: vec![9, 3, 4] });
        // A single token is left.
        let one = Denoising::default().rewrite(&[5], &[9], &mut Seed::new(0).rng());
        assert_eq!(one, Rewrite { read: vec![5], write: vec![] });
        let none = Denoising { denoisers: Vec::new(), whole: true };
        assert!(none.validate().is_err());
        let kind = DenoiserKind::Spans(SpanNoise { ratio: 1.0, length: 3.0 });
        let wrong = Denoiser { kind, weight: 1.0, mode: None };
        assert!(Denoising { denoisers: vec![wrong], whole: true }.validate().is_err());
    }
}
