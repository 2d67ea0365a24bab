//! Decoding strategies: how each next token is chosen.

use super::error::GenerationError;
use kiln_core::Seed;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How each next token is chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Greedy decoding: the likeliest.
    #[default]
    Greedy,
    /// Sampling.
    Sample(Sampling),
    /// Beam search: those of the likeliest sequence that it finds.
    Beam(Beam),
}

/// Settings of sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits are divided by it: below 1 likely tokens become likelier.
    pub temperature: f64,
    /// Top-k sampling: only so many of the likeliest tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Nucleus sampling: only the likeliest tokens that together have this probability
    /// (<https://arxiv.org/abs/1904.09751>).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Min-p sampling: only tokens at least this share as likely as the likeliest
    /// (<https://arxiv.org/abs/2407.01082>).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Repetition penalty: above 1, tokens of the context become less likely
    /// (<https://arxiv.org/abs/1909.05858>). With a `top_k` of 1 nothing is left to chance: of what remains the likeliest is taken.
    pub repetition_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0 }
    }
}

/// Settings of beam search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Beam {
    /// Number of beams: sequences kept at each step.
    pub width: usize,
    /// Log-probabilities are divided by the length to this power: above 0 longer texts are favoured.
    pub length_penalty: f64,
}

impl Default for Beam {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0 }
    }
}

impl Choice {
    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), GenerationError> {
        let check = |fine: bool, key, found: String, expected| {
            if fine { Ok(()) } else { Err(GenerationError::Setting { key, found, expected }) }
        };
        match self {
            Self::Greedy => Ok(()),
            Self::Beam(beam) => {
                check(beam.width > 0, "width", beam.width.to_string(), "at least 1")?;
                let penalty = beam.length_penalty;
                check(penalty.is_finite(), "length_penalty", penalty.to_string(), "a number")
            }
            Self::Sample(sampling) => {
                let Sampling { temperature, top_k, top_p, min_p, repetition_penalty } = sampling;
                let above = |value: f64| value > 0.0 && value.is_finite();
                check(above(*temperature), "temperature", temperature.to_string(), "above 0")?;
                check(*top_k != Some(0), "top_k", "0".into(), "at least 1")?;
                let share = |value: &Option<f64>| value.is_none_or(|p| p > 0.0 && p <= 1.0);
                check(share(top_p), "top_p", format!("{top_p:?}"), "above 0, at most 1")?;
                check(share(min_p), "min_p", format!("{min_p:?}"), "above 0, at most 1")?;
                let penalty = repetition_penalty.to_string();
                check(above(*repetition_penalty), "repetition_penalty", penalty, "above 0")
            }
        }
    }
}

/// Chooses tokens.
pub(super) struct Chooser<'a> {
    choice: &'a Choice,
    seed: Seed,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(choice: &'a Choice, seed: Seed) -> Self {
        Self { choice, seed }
    }

    /// The next id after `context`; the draw follows from the number of the text and the step.
    pub(super) fn choose(&mut self, scores: &[f32], context: &[u32], at: [usize; 2]) -> u32 {
        match self.choice {
            Choice::Sample(sampling) => {
                let mut rng = self.seed.at(at[0] as u64).at(at[1] as u64).rng();
                let kept = sampling.kept(scores, context);
                let mut draw = rng.random::<f64>() * kept.iter().map(|(_, p)| p).sum::<f64>();
                let drawn = kept.iter().find(|(_, probability)| {
                    draw -= probability;
                    draw < 0.0
                });
                drawn.or(kept.first()).map_or(0, |(id, _)| *id)
            }
            Choice::Greedy | Choice::Beam(_) => likeliest(scores),
        }
    }
}

/// The first of the greatest scores.
fn likeliest(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (id, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = id;
        }
    }
    best as u32
}

impl Sampling {
    /// The ids that may be drawn and how likely each is, the likeliest first.
    fn kept(&self, scores: &[f32], context: &[u32]) -> Vec<(u32, f64)> {
        let mut scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        if self.repetition_penalty != 1.0 {
            let mut seen: Vec<u32> = context.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(score) = scores.get_mut(id as usize) {
                    *score = if *score > 0.0 {
                        *score / self.repetition_penalty
                    } else {
                        *score * self.repetition_penalty
                    };
                }
            }
        }
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let likely = |score: &f64| ((score - most) / self.temperature).exp();
        let mut kept: Vec<(u32, f64)> =
            scores.iter().enumerate().map(|(id, score)| (id as u32, likely(score))).collect();
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if let Some(count) = self.top_k {
            kept.truncate(count);
        }
        let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
        kept.iter_mut().for_each(|(_, probability)| *probability /= total);
        if let Some(share) = self.top_p {
            let mut sum = 0.0;
            let needed = kept.iter().position(|(_, probability)| {
                sum += probability;
                sum >= share
            });
            kept.truncate(needed.map_or(kept.len(), |last| last + 1));
        }
        if let (Some(share), Some(&(_, most))) = (self.min_p, kept.first()) {
            kept.retain(|(_, probability)| *probability >= share * most);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(sampling: &Sampling, scores: &[f32], context: &[u32]) -> Vec<u32> {
        sampling.kept(scores, context).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn unlikely_tokens_are_cut_off() {
        // Probabilities 0.1, 0.4, 0.3, 0.2.
        let scores = [0.1f32.ln(), 0.4f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let plain = Sampling::default;
        assert_eq!(ids(&plain(), &scores, &[]), [1, 2, 3, 0]);
        assert_eq!(ids(&Sampling { top_k: Some(2), ..plain() }, &scores, &[]), [1, 2]);
        assert_eq!(ids(&Sampling { top_p: Some(0.71), ..plain() }, &scores, &[]), [1, 2, 3]);
        assert_eq!(ids(&Sampling { top_p: Some(0.69), ..plain() }, &scores, &[]), [1, 2]);
        assert_eq!(ids(&Sampling { min_p: Some(0.6), ..plain() }, &scores, &[]), [1, 2]);
        // Negative scores are multiplied: 0.4² = 0.16 is less than 0.2.
        let penalised = Sampling { repetition_penalty: 2.0, ..plain() };
        assert_eq!(ids(&penalised, &scores, &[1, 1]), [2, 3, 1, 0]);
        let greedy = Sampling { top_k: Some(1), ..penalised };
        assert_eq!(ids(&greedy, &scores, &[1, 1]), [2]);
        let cold = Sampling { temperature: 0.5, ..plain() }.kept(&scores, &[]);
        assert!((cold[0].1 - 0.16 / 0.30).abs() < 1e-6);
    }

    #[test]
    fn draws_follow_probabilities_and_the_seed() {
        let choice = Choice::Sample(Sampling::default());
        let mut chooser = Chooser::new(&choice, Seed::new(1));
        let scores = [0.25f32.ln(), 0.75f32.ln()];
        let drawn = (0..2000).filter(|step| chooser.choose(&scores, &[], [0, *step]) == 1).count();
        assert!((1440..1560).contains(&drawn), "{drawn}");
        assert_eq!(chooser.choose(&scores, &[], [3, 4]), chooser.choose(&scores, &[], [3, 4]));
    }

    #[test]
    fn settings_are_checked() {
        let bad = Choice::Sample(Sampling { temperature: 0.0, ..Sampling::default() });
        assert_eq!(bad.validate().unwrap_err().to_string(), "`temperature` is 0; expected above 0");
        assert!(Choice::Beam(Beam { width: 0, ..Beam::default() }).validate().is_err());
        assert!(Choice::Greedy.validate().is_ok());
    }
}
