//! TF-IDF salience: the words that stand for a document, for masking them more than others, as in
//! LegalTurk Optimized BERT, <https://arxiv.org/abs/2407.00648>.

use kiln_core::{Layout, Size};
use kiln_lm::examples::Example;
use kiln_train::task::{TaskSource, TaskSourceError};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// Sequences that document frequencies are counted in, at most.
const LOOKED_AT: u64 = 20_000;

/// Document frequencies of words, for TF-IDF.
#[derive(Debug, Default)]
pub(crate) struct Salience {
    /// The share of a document's different words that is salient.
    share: f64,
    documents: f64,
    /// The documents that hold a word, by its ids.
    holding: FxHashMap<Vec<u32>, f64>,
}

impl Salience {
    /// Counts document frequencies in the sequences of a source.
    ///
    /// # Errors
    /// When a sequence cannot be read.
    pub fn count(source: &TaskSource<Example>, share: f64) -> Result<Self, TaskSourceError> {
        let size = match source.size() {
            Size::Known(size) => size.min(LOOKED_AT),
            Size::Endless => LOOKED_AT / 10,
        };
        let mut salience = Self { share, ..Self::default() };
        for index in 0..size {
            salience.add(&source.example(index)?);
        }
        Ok(salience)
    }

    fn add(&mut self, example: &Example) {
        for words in documents(example) {
            self.documents += 1.0;
            let distinct: FxHashSet<&[u32]> =
                words.iter().map(|word| &example.ids[word.clone()]).collect();
            for word in distinct {
                *self.holding.entry(word.to_vec()).or_default() += 1.0;
            }
        }
    }

    /// Spans of the salient words of each document: the share of its different words with the
    /// highest TF-IDF.
    pub fn find(&self, example: &Example) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for words in documents(example) {
            let mut counts: FxHashMap<&[u32], f64> = FxHashMap::default();
            for word in &words {
                *counts.entry(&example.ids[word.clone()]).or_default() += 1.0;
            }
            let weight = |word: &[u32], count: f64| {
                let holding = self.holding.get(word).copied().unwrap_or(1.0);
                count * (self.documents / holding).max(1.0).ln()
            };
            let mut ranked: Vec<(f64, &[u32])> =
                counts.iter().map(|(word, count)| (weight(word, *count), *word)).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
            ranked.truncate((ranked.len() as f64 * self.share).round() as usize);
            let salient: FxHashSet<&[u32]> = ranked.into_iter().map(|(_, word)| word).collect();
            found.extend(
                words.into_iter().filter(|word| salient.contains(&example.ids[word.clone()])),
            );
        }
        found
    }
}

/// Where the words of each document of an example stand.
fn documents(example: &Example) -> Vec<Vec<Range<usize>>> {
    let some = |flags: &Vec<bool>| (!flags.is_empty()).then(|| flags.clone());
    let starts = example.documents.iter().map(|start| *start as usize);
    let layout = Layout {
        special_tokens_mask: some(&example.special_tokens_mask),
        word_starts: some(&example.word_starts),
        documents: Some(starts.collect()),
        ..Layout::new(1, example.ids.len())
    };
    let words = layout.units(0, true);
    let of = |segment: Range<usize>| {
        words.iter().filter(|word| segment.contains(&word.start)).cloned().collect()
    };
    layout.segments(0).into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words by their letters, documents apart by `|`.
    fn example(text: &str) -> Example {
        let mut example = Example::default();
        for (number, document) in text.split('|').enumerate() {
            if number > 0 {
                example.ids.push(0);
                example.special_tokens_mask.push(true);
                example.word_starts.push(true);
            }
            example.documents.push(example.ids.len() as u32);
            for word in document.split(' ') {
                for (at, letter) in word.chars().enumerate() {
                    example.ids.push(letter as u32);
                    example.special_tokens_mask.push(false);
                    example.word_starts.push(at == 0);
                }
            }
        }
        example
    }

    #[test]
    fn what_others_lack_and_what_comes_often_is_found() {
        let mut salience = Salience { share: 0.34, ..Salience::default() };
        let two = example("the cat sat the cat|the dog sat");
        salience.add(&two);
        salience.add(&example("the sun"));
        assert_eq!(salience.documents, 3.0);
        // One of three words of each: "cat" twice in its document, "dog" in no other; "the" is in all.
        let words = |example: &Example| {
            let word = |range: Range<usize>| {
                example.ids[range].iter().filter_map(|id| char::from_u32(*id)).collect::<String>()
            };
            salience.find(example).into_iter().map(word).collect::<Vec<_>>()
        };
        assert_eq!(words(&two), ["cat", "cat", "dog"]);
        // A word that nobody has seen is rare.
        assert_eq!(words(&example("the sat owl")), ["owl"]);
    }
}
