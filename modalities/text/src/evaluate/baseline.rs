//! Baselines of tasks: naive Bayes, the most frequent label, word overlap.

use kiln_metrics::{classification::argmax, words::segments};
use std::collections::{BTreeMap, HashMap};

/// Lower-case words of a text; characters of scripts without spaces.
pub(super) fn words(text: &str) -> Vec<String> {
    segments(text, |_| false)
}

/// The mode: the most frequent item, the first of several.
pub(super) fn most_frequent<T: Ord + Clone>(things: impl IntoIterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(thing, _)| thing)
}

/// Multinomial naive Bayes over words, with add-one smoothing.
#[derive(Debug, Default)]
pub(super) struct NaiveBayes {
    /// Texts of each class, and words in them.
    classes: Vec<(f64, f64)>,
    /// How often each class has a word.
    words: HashMap<String, Vec<f64>>,
}

impl NaiveBayes {
    pub fn fit<'a>(texts: impl IntoIterator<Item = (&'a str, usize)>, classes: usize) -> Self {
        let mut model = Self { classes: vec![(0.0, 0.0); classes], words: HashMap::new() };
        for (text, class) in texts {
            for word in words(text) {
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
        for word in words(text) {
            if let Some(counts) = self.words.get(&word) {
                for ((score, count), (_, all)) in scores.iter_mut().zip(counts).zip(&self.classes) {
                    *score += ((count + 1.0) / (all + kinds)).ln();
                }
            }
        }
        scores
    }
}

/// Jaccard similarity of the words of two texts.
pub(super) fn overlap(first: &str, second: &str) -> f64 {
    let set = |text| words(text).into_iter().collect::<std::collections::BTreeSet<_>>();
    let (first, second) = (set(first), set(second));
    let all = first.union(&second).count().max(1);
    first.intersection(&second).count() as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_classes() {
        let texts = [("a good book", 1), ("good good", 1), ("a bad book", 0), ("太差了", 0)];
        let bayes = NaiveBayes::fit(texts, 2);
        assert_eq!([bayes.predict("Good!"), bayes.predict("bad"), bayes.predict("差")], [1, 0, 0]);
        assert!((overlap("a b", "b c") - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(most_frequent(["b", "a", "b", "a"]), Some("a"));
    }
}
