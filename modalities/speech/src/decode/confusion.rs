//! Confusion networks: the alternatives in place of each word, Mangu et al. 2000,
//! <https://arxiv.org/abs/cs/0010012>, from the N best readings.

use super::decoded::Decoded;
use kiln_metrics::error_rate::{Edit, align};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Confusion network: slots in the order of time, each with the candidates for one word or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusionNetwork {
    /// In the order of time.
    pub slots: Vec<Slot>,
}

/// The candidates of one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// When it starts, in s. A word that the best hypothesis lacks is somewhere between its
    /// neighbours.
    pub start: f64,
    /// When it ends, in s.
    pub end: f64,
    /// Best first; the posteriors sum to one.
    pub choices: Vec<Choice>,
}

/// A candidate word with its posterior.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// `None` for no word.
    pub word: Option<String>,
    /// Over all hypotheses.
    pub posterior: f64,
}

impl ConfusionNetwork {
    /// Aligns the n-best hypotheses to the best one, weighted by [`Decoded::posteriors`].
    pub fn new(decoded: &Decoded, scale: f64) -> Self {
        let best: Vec<&str> = decoded.words.iter().map(|word| word.text.as_str()).collect();
        // By place: the best hypothesis's word `i` is at `(i, MAX)`, what others have before it at
        // `(i, 0..)`.
        let mut places: BTreeMap<(usize, usize), BTreeMap<&str, f64>> = BTreeMap::new();
        for place in 0..best.len() {
            places.insert((place, usize::MAX), BTreeMap::new());
        }
        for (hypothesis, posterior) in decoded.nbest.iter().zip(decoded.posteriors(scale)) {
            let words: Vec<&str> =
                hypothesis.text.split(' ').filter(|word| !word.is_empty()).collect();
            let (mut before, mut inserted) = (0, 0);
            for edit in align(&best, &words) {
                let (place, word) = match edit {
                    Edit::Hit(i, j) | Edit::Substitution(i, j) => ((i, usize::MAX), Some(j)),
                    Edit::Deletion(i) => ((i, usize::MAX), None),
                    Edit::Insertion(j) => {
                        inserted += 1;
                        ((before, inserted - 1), Some(j))
                    }
                };
                if place.1 == usize::MAX {
                    (before, inserted) = (place.0 + 1, 0);
                }
                if let Some(word) = word {
                    *places.entry(place).or_default().entry(words[word]).or_default() += posterior;
                }
            }
        }
        let slot = |((place, kind), words): (&(usize, usize), &BTreeMap<&str, f64>)| {
            let (own, before) =
                (decoded.words.get(*place), decoded.words.get(place.wrapping_sub(1)));
            let (start, end) = match own {
                Some(word) if *kind == usize::MAX => (word.start, word.end),
                next => {
                    let start = before.map(|word| word.end);
                    let end = next.map(|word| word.start);
                    (
                        start.or(end).unwrap_or(0.0).min(end.unwrap_or(f64::MAX)),
                        end.or(start).unwrap_or(0.0),
                    )
                }
            };
            Slot { start, end, choices: choices(words) }
        };
        Self { slots: places.iter().map(slot).collect() }
    }
}

/// The words of a slot, and the chance that it is empty.
fn choices(words: &BTreeMap<&str, f64>) -> Vec<Choice> {
    let word = |(word, posterior): (&&str, &f64)| Choice {
        word: Some((*word).to_owned()),
        posterior: *posterior,
    };
    let mut choices: Vec<Choice> = words.iter().map(word).collect();
    let rest = 1.0 - words.values().sum::<f64>();
    if rest > 1e-9 {
        choices.push(Choice { word: None, posterior: rest });
    }
    choices.sort_by(|a, b| b.posterior.total_cmp(&a.posterior));
    choices
}

#[cfg(test)]
mod tests {
    use super::super::tests::readings;
    use super::*;

    #[test]
    fn by_hand() {
        let decoded =
            readings(&[("a b d", 0.5), ("a c d", 0.25), ("a b e d", 0.125), ("b", 0.125)]);
        let network = ConfusionNetwork::new(&decoded, 1.0);
        let texts: Vec<Vec<_>> = network
            .slots
            .iter()
            .map(|slot| slot.choices.iter().map(|c| (c.word.as_deref(), c.posterior)).collect())
            .collect();
        let (a, b, c, d, e) = (Some("a"), Some("b"), Some("c"), Some("d"), Some("e"));
        let expected = [
            vec![(a, 0.875), (None, 0.125)],
            vec![(b, 0.75), (c, 0.25)],
            vec![(None, 0.875), (e, 0.125)],
            vec![(d, 0.875), (None, 0.125)],
        ];
        assert_eq!(texts.len(), expected.len());
        for (found, expected) in texts.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 1e-9, "{found:?}");
        }
        // Words last from their number to half a second later.
        let times: Vec<_> = network.slots.iter().map(|slot| (slot.start, slot.end)).collect();
        assert_eq!(times, [(0.0, 0.5), (1.0, 1.5), (1.5, 2.0), (2.0, 2.5)]);
        let text = serde_json::to_string(&network).unwrap();
        let read: ConfusionNetwork = serde_json::from_str(&text).unwrap();
        assert_eq!(read.slots.len(), 4);
    }

    #[test]
    fn nothing_said() {
        assert_eq!(ConfusionNetwork::new(&readings(&[("", 1.0)]), 1.0).slots, []);
        let network = ConfusionNetwork::new(&readings(&[("", 0.75), ("a", 0.25)]), 1.0);
        assert_eq!(network.slots[0].choices[0].word, None);
    }
}
