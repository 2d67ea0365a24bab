//! Perplexity: how surprised a model is by a text.

use super::{NgramModel, WordId};
use std::ops::AddAssign;

/// A streaming count of surprise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Base-10 logarithm of the probability of all words known and ends of sentences.
    pub log10: f64,
    /// Words known and ends of sentences.
    pub words: u64,
    /// Words that the model does not know; in no sum.
    pub unknown: u64,
}

impl Perplexity {
    /// Of one sentence.
    pub fn of(model: &NgramModel, sentence: &str) -> Self {
        let mut perplexity = Self::default();
        let mut state = model.start();
        let end = Some(model.end()).filter(|end| *end != WordId::UNKNOWN);
        for word in sentence.split_whitespace().map(|word| model.id(word)).chain(end) {
            let (log10, next) = model.score(state, word);
            state = next;
            if word == WordId::UNKNOWN {
                perplexity.unknown += 1;
            } else {
                perplexity.words += 1;
                perplexity.log10 += f64::from(log10);
            }
        }
        perplexity
    }

    /// Per word; `None` when no word was known.
    pub fn value(&self) -> Option<f64> {
        (self.words > 0).then(|| 10f64.powf(-self.log10 / self.words as f64))
    }
}

impl AddAssign for Perplexity {
    fn add_assign(&mut self, other: Self) {
        self.log10 += other.log10;
        self.words += other.words;
        self.unknown += other.unknown;
    }
}
