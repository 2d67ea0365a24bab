//! What decoding gives.

use crate::{
    Result, SpeechError,
    transcript::{Alternative, Transcript, Word},
    vocabulary::Vocabulary,
};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// Frame times in a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameTimes {
    /// When the first frame starts, in s.
    pub start: f64,
    /// From one frame's start to the next one's, in s.
    pub stride: f64,
}

impl FrameTimes {
    /// Frames that start with the recording.
    pub fn new(stride: f64) -> Self {
        Self { start: 0.0, stride }
    }

    /// When a frame starts, in s.
    pub fn at(self, frame: usize) -> f64 {
        self.start + frame as f64 * self.stride
    }
}

/// A token aligned to frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenSpan {
    /// Its id.
    pub token: u32,
    /// The first frame.
    pub first: usize,
    /// The last frame, which is part of the span.
    pub last: usize,
    /// Its greatest log-probability in these frames.
    pub log_probability: f32,
}

/// A decoding hypothesis of an utterance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The label, without blanks. Where several labels have the same text, the best of them.
    pub ids: Vec<u32>,
    /// Its words, with spaces between them.
    pub text: String,
    /// The total score: `acoustic` plus `language`.
    pub score: f64,
    /// The natural logarithm of the probability that CTC gives the text.
    pub acoustic: f64,
    /// Weighted score of the language model, bonuses included.
    pub language: f64,
}

/// The result of decoding an utterance: the n-best list, and the best one's word times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decoded {
    /// The words of the best hypothesis, with their times.
    pub words: Vec<Word>,
    /// The n-best hypotheses, best first, at least one.
    pub nbest: Vec<Hypothesis>,
}

impl Decoded {
    /// The text of the best hypothesis.
    pub fn text(&self) -> &str {
        self.nbest.first().map_or("", |best| &best.text)
    }

    /// Posterior probabilities of the n-best list, in its order: a softmax of the scores times
    /// `scale`.
    pub fn posteriors(&self, scale: f64) -> Vec<f64> {
        let best = self.nbest.first().map_or(0.0, |best| best.score);
        let weight = |hypothesis: &Hypothesis| match hypothesis.score - best {
            // Both may be minus infinity.
            difference if difference.is_nan() => 1.0,
            difference => (scale * difference).exp(),
        };
        let weights: Vec<f64> = self.nbest.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// Confidence of the best hypothesis, 0 to 1: its posterior, or where there is no other, the
    /// least confidence of its words.
    pub fn confidence(&self) -> f64 {
        match &self.nbest[..] {
            [] => 0.0,
            [_] => self.words.iter().map(|word| f64::from(word.confidence)).fold(1.0, f64::min),
            _ => self.posteriors(1.0).first().copied().unwrap_or(0.0),
        }
    }

    /// As a transcript, with the other hypotheses where they are asked for.
    pub fn transcript(&self, alternatives: bool) -> Transcript {
        let others = self.nbest.iter().skip(1).filter(|_| alternatives);
        let other =
            |other: &Hypothesis| Alternative { text: other.text.clone(), score: other.score };
        Transcript { words: self.words.clone(), alternatives: others.map(other).collect() }
    }
}

/// Checks that log-probabilities are some, and that there is a column for every token.
pub(super) fn check(log_probs: ArrayView2<'_, f32>, vocabulary: &Vocabulary) -> Result<()> {
    let (expected, found) = (vocabulary.len(), log_probs.ncols());
    if expected != found {
        return Err(SpeechError::Columns { expected, found });
    }
    // Half-precision logarithms may be a little above 0.
    match log_probs.indexed_iter().find(|(_, value)| value.is_nan() || **value > 0.01) {
        Some(((frame, token), found)) => {
            Err(SpeechError::LogProbability { frame, token, found: *found })
        }
        None => Ok(()),
    }
}

/// Tokens as words: what is between two delimiters is one.
pub(super) fn words(vocabulary: &Vocabulary, spans: &[TokenSpan], times: FrameTimes) -> Vec<Word> {
    let words = spans.split(|span| Some(span.token) == vocabulary.delimiter());
    let word = |spans: &[TokenSpan]| {
        let (first, last) = (spans.first()?, spans.last()?);
        let ids: Vec<u32> = spans.iter().map(|span| span.token).collect();
        let sum: f32 = spans.iter().map(|span| span.log_probability).sum();
        Some(Word {
            text: vocabulary.decode(&ids),
            start: times.at(first.first),
            end: times.at(last.last + 1),
            confidence: (sum / spans.len() as f32).exp().min(1.0),
        })
    };
    words.filter_map(word).filter(|word| !word.text.is_empty()).collect()
}

/// `ln(exp(a) + exp(b))`.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    // Below this the sum is `high` to the last bit; minus infinities end here, too.
    if low - high > -38.0 { high + (low - high).exp().ln_1p() } else { high }
}
