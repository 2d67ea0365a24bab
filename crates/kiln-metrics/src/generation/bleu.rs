//! BLEU, Papineni et al. 2002, <https://aclanthology.org/P02-1040>, as sacreBLEU computes it, Post
//! 2018, <https://aclanthology.org/W18-6319>: up to four tokens, counts clipped by the references,
//! the length of the closest reference, and exponential smoothing of orders without a match.

use super::bleu_tokens::BleuTokens;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::AddAssign};

/// The longest n-gram.
const ORDER: usize = 4;

/// Counts of a corpus, from which BLEU is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bleu {
    tokens: BleuTokens,
    correct: [u64; ORDER],
    total: [u64; ORDER],
    length: u64,
    reference: u64,
}

/// BLEU and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BleuScore {
    /// BLEU, from 0 to 100.
    pub score: f64,
    /// The smoothed precision of each order, from 0 to 100.
    pub precisions: [f64; ORDER],
    /// The brevity penalty, from 0 to 1.
    pub brevity_penalty: f64,
}

impl Bleu {
    /// Nothing yet.
    pub fn new(tokens: BleuTokens) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// Counts a sentence by its references; without any, it is left out.
    pub fn add<T: AsRef<str>>(&mut self, hypothesis: &str, references: &[T]) {
        let hypothesis = self.tokens.split(hypothesis);
        let references: Vec<Vec<String>> =
            references.iter().map(|text| self.tokens.split(text.as_ref())).collect();
        // Of two references as close, the shorter one.
        let closest = |length: &usize| (length.abs_diff(hypothesis.len()), *length);
        let Some(length) = references.iter().map(Vec::len).min_by_key(closest) else { return };
        self.length += hypothesis.len() as u64;
        self.reference += length as u64;
        for order in 1..=ORDER {
            let mut most: HashMap<&[String], u64> = HashMap::new();
            for reference in &references {
                for (gram, count) in grams(reference, order) {
                    let known = most.entry(gram).or_default();
                    *known = count.max(*known);
                }
            }
            for (gram, count) in grams(&hypothesis, order) {
                self.total[order - 1] += count;
                self.correct[order - 1] += most.get(gram).map_or(0, |most| count.min(*most));
            }
        }
    }

    /// BLEU of the corpus; `None` without sentences.
    pub fn score(&self) -> Option<BleuScore> {
        if self.reference == 0 && self.length == 0 {
            return None;
        }
        let (length, reference) = (self.length as f64, self.reference as f64);
        let brevity_penalty = match self.length {
            0 => 0.0,
            _ if length < reference => (1.0 - reference / length).exp(),
            _ => 1.0,
        };
        let mut precisions = [0.0; ORDER];
        if self.correct.iter().all(|count| *count == 0) {
            return Some(BleuScore { score: 0.0, precisions, brevity_penalty });
        }
        let mut smooth = 1.0;
        for (order, precision) in precisions.iter_mut().enumerate() {
            let (correct, total) = (self.correct[order] as f64, self.total[order] as f64);
            if total == 0.0 {
                break;
            }
            *precision = 100.0 * correct / total;
            if correct == 0.0 {
                smooth *= 2.0;
                *precision = 100.0 / (smooth * total);
            }
        }
        // An order that no sentence is long enough for makes the score 0.
        let log_mean = precisions.iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64;
        Some(BleuScore { score: brevity_penalty * log_mean.exp(), precisions, brevity_penalty })
    }
}

impl AddAssign for Bleu {
    /// Adds the counts of other sentences.
    fn add_assign(&mut self, other: Self) {
        for order in 0..ORDER {
            self.correct[order] += other.correct[order];
            self.total[order] += other.total[order];
        }
        self.length += other.length;
        self.reference += other.reference;
    }
}

/// How often each run of `order` items comes.
pub(super) fn grams<T: Eq + std::hash::Hash>(items: &[T], order: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for gram in items.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    /// Numbers of sacreBLEU's `corpus_bleu`.
    #[test]
    fn as_sacrebleu() {
        let mut bleu = Bleu::new(BleuTokens::V13a);
        bleu.add(
            "The cat sat on the mat, didn't it? It's 3.5-4 cm.",
            &[
                "The cat is sitting on the mat, isn't it? It's 3.5-5 cm.",
                "On the mat sat the cat, didn't it?",
            ],
        );
        let mut second = Bleu::new(BleuTokens::V13a);
        second.add(
            "A dog barked &quot;loudly&quot; at 10,000 people (and more).",
            &["The dogs barked \"loudly\" at 10,000 people.", "A dog barked at people."],
        );
        bleu += second;
        let score = bleu.score().unwrap();
        assert!(close(score.score, 55.40714445557419), "{score:?}");
        assert!(close(score.precisions[3], 33.333333333333336));

        let score = |tokens: BleuTokens, hypothesis: &str, reference: &str| {
            let mut bleu = Bleu::new(tokens);
            bleu.add(hypothesis, &[reference]);
            bleu.score().unwrap().score
        };
        let smooth = score(BleuTokens::V13a, "the the the cat", "a cat sat there today");
        assert!(close(smooth, 12.44023474812678), "{smooth}");
        assert_eq!(score(BleuTokens::V13a, "zzz", "a cat"), 0.0);
        let (hypothesis, reference) =
            ("今天天气很好，我们去公园。GDP增长3.5%", "今天天气不错，我们去公园吧。GDP增长3.6%");
        assert!(close(score(BleuTokens::Chinese, hypothesis, reference), 51.7935102212525));
        assert!(close(score(BleuTokens::Characters, hypothesis, reference), 61.83296932477694));
    }

    #[test]
    fn nothing() {
        let mut bleu = Bleu::new(BleuTokens::V13a);
        assert_eq!(bleu.score(), None);
        bleu.add::<&str>("a", &[]);
        assert_eq!(bleu.score(), None);
        bleu.add("", &["a"]);
        assert_eq!(bleu.score().unwrap().score, 0.0);
    }
}
