//! Counting n-grams.

use super::{
    END, MAX_ORDER, START, UNKNOWN,
    error::{NgramError, Result},
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

pub(super) const START_ID: u32 = 1;
pub(super) const END_ID: u32 = 2;

/// The words of an n-gram, padded.
pub(super) type Key = [u32; MAX_ORDER];

/// An n-gram's words as a key.
pub(super) fn key(words: &[u32]) -> Key {
    let mut key = [u32::MAX; MAX_ORDER];
    key[..words.len()].copy_from_slice(words);
    key
}

/// How often an n-gram occurs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// For the longest n-grams and those that start a sentence, how often they occur; for others
    /// how many different words they follow.
    pub(super) adjusted: u64,
    /// How often it occurs.
    pub(super) raw: u64,
}

/// Counts of all n-grams up to an order. Only those that could not be longer are counted while
/// reading; shorter ones follow from them.
#[derive(Debug)]
pub(super) struct Counter {
    order: usize,
    pub(super) words: Vec<Arc<str>>,
    ids: FxHashMap<Arc<str>, u32>,
    /// By order, from 1.
    longest: Vec<FxHashMap<Key, u64>>,
    pub(super) sentences: u64,
    pub(super) tokens: u64,
}

impl Counter {
    pub(super) fn new(order: usize) -> Self {
        let words: Vec<Arc<str>> = [UNKNOWN, START, END].map(Arc::from).to_vec();
        let ids = words.iter().cloned().zip(0..).collect();
        let longest = vec![FxHashMap::default(); order];
        Self { order, words, ids, longest, sentences: 0, tokens: 0 }
    }

    /// Counts one sentence.
    ///
    /// # Errors
    /// When it holds a word that stands for something else in language models.
    pub(super) fn add(&mut self, sentence: &str) -> Result<()> {
        let mut words = vec![START_ID];
        for word in sentence.split_whitespace() {
            let id = match self.ids.get(word) {
                Some(id) => *id,
                None => {
                    let word: Arc<str> = word.into();
                    let id = self.words.len() as u32;
                    self.words.push(word.clone());
                    self.ids.insert(word, id);
                    id
                }
            };
            if id <= END_ID {
                let cause = format!(
                    "sentence {} has the word `{word}`, which is reserved; expected plain text",
                    self.sentences + 1
                );
                return Err(NgramError::Model { cause });
            }
            words.push(id);
        }
        words.push(END_ID);
        for end in 2..=words.len() {
            let start = end.saturating_sub(self.order);
            *self.longest[end - start - 1].entry(key(&words[start..end])).or_default() += 1;
        }
        self.sentences += 1;
        self.tokens += words.len() as u64 - 2;
        Ok(())
    }

    /// The counts by order, from 1.
    pub(super) fn finish(self) -> (Vec<Arc<str>>, Vec<FxHashMap<Key, Count>>) {
        let counted = |(key, raw): (Key, u64)| (key, Count { adjusted: raw, raw });
        let mut counts: Vec<FxHashMap<Key, Count>> = self
            .longest
            .into_iter()
            .map(|table| table.into_iter().map(counted).collect())
            .collect();
        for order in (2..=self.order).rev() {
            let (shorter, longer) = counts.split_at_mut(order - 1);
            for (ngram, count) in &longer[0] {
                let suffix = shorter[order - 2].entry(key(&ngram[1..order])).or_default();
                suffix.adjusted += 1;
                suffix.raw += count.raw;
            }
        }
        (self.words, counts)
    }
}
