//! Baselines of text classification: naive Bayes over words, and the most frequent class.

use super::argmax;
use crate::words::segments;
use std::collections::{BTreeMap, HashMap};

/// The mode: the most frequent item, the first of several.
pub fn most_frequent<T: Ord + Clone>(things: impl IntoIterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(thing, _)| thing)
}

/// Multinomial naive Bayes over words, with add-one smoothing.
#[derive(Debug, Default)]
pub struct NaiveBayes {
    /// Texts of each class, and words in them.
    classes: Vec<(f64, f64)>,
    /// How often each class has a word.
    words: HashMap<String, Vec<f64>>,
}

impl NaiveBayes {
    /// Fits texts with their classes, below `classes`.
    pub fn fit<'a>(texts: impl IntoIterator<Item = (&'a str, usize)>, classes: usize) -> Self {
        let mut model = Self { classes: vec![(0.0, 0.0); classes], words: HashMap::new() };
        for (text, class) in texts {
            for word in segments(text, |_| false) {
                model.words.entry(word).or_insert_with(|| vec![0.0; classes])[class] += 1.0;
                model.classes[class].1 += 1.0;
            }
            model.classes[class].0 += 1.0;
        }
        model
    }

    /// The likeliest class of a text.
    pub fn predict(&self, text: &str) -> usize {
        argmax(self.scores(text))
    }

    /// The log-likelihood of a text with each class, but for what they have in common.
    pub fn scores(&self, text: &str) -> Vec<f64> {
        let kinds = self.words.len() as f64;
        let mut scores: Vec<f64> =
            self.classes.iter().map(|(texts, _)| (texts + 1.0).ln()).collect();
        for word in segments(text, |_| false) {
            if let Some(counts) = self.words.get(&word) {
                for ((score, count), (_, all)) in scores.iter_mut().zip(counts).zip(&self.classes) {
                    *score += ((count + 1.0) / (all + kinds)).ln();
                }
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_classes() {
        let texts = [("a good book", 1), ("good good", 1), ("a bad book", 0), ("太差了", 0)];
        let bayes = NaiveBayes::fit(texts, 2);
        assert_eq!([bayes.predict("Good!"), bayes.predict("bad"), bayes.predict("差")], [1, 0, 0]);
        assert_eq!(most_frequent(["b", "a", "b", "a"]), Some("a"));
    }
}
