//! Modified Kneser–Ney smoothing, interpolated: Chen and Goodman 1998, "An empirical study of
//! smoothing techniques for language modeling", <https://dash.harvard.edu/handle/1/25104739>.
//!
//! As KenLM does, unigrams are interpolated with the uniform distribution over the vocabulary, of
//! which the unknown word is part and the start of a sentence is not.

use super::{
    NgramModel,
    assemble::Table,
    count::{Count, Counter, Key, START_ID, key},
    error::{NgramError, Result},
};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an n-gram model is trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KneserNey {
    /// The longest n-gram, 1 to 6.
    pub order: usize,
    /// From order 2 up, how often an n-gram has to occur to be kept; the last number holds for all
    /// higher orders, too. None: all are kept.
    pub min_counts: Vec<u64>,
}

impl Default for KneserNey {
    fn default() -> Self {
        Self { order: 3, min_counts: Vec::new() }
    }
}

/// A trained model and how it came about.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model.
    pub model: NgramModel,
    /// By order, from 1.
    pub discounts: Vec<Discounts>,
    /// Sentences read.
    pub sentences: u64,
    /// Words read, without starts and ends of sentences.
    pub words: u64,
}

/// What is taken from counts, for n-grams that were never seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discounts {
    /// From a count of 1, of 2, and of 3 or more.
    pub by_count: [f64; 3],
    /// Whether the counts of counts gave no sensible numbers, so that these are fixed ones: so in
    /// small or artificial texts.
    pub fixed: bool,
}

impl KneserNey {
    /// Trains a model on sentences: words with white space between them, already normalised.
    ///
    /// Memory grows with the number of different n-grams, not with the text.
    ///
    /// # Errors
    /// When a setting makes no sense, a sentence has a reserved word (`<s>`, `</s>`, `<unk>`), or
    /// there are no words.
    pub fn train<S: AsRef<str>>(&self, sentences: impl IntoIterator<Item = S>) -> Result<Trained> {
        self.validate()?;
        let mut counter = Counter::new(self.order);
        for sentence in sentences {
            counter.add(sentence.as_ref())?;
        }
        let (read, words_read) = (counter.sentences, counter.tokens);
        if words_read == 0 {
            let cause = format!("there are no words in {read} sentences");
            return Err(NgramError::Model { cause });
        }
        let (words, counts) = counter.finish();
        let discounts: Vec<Discounts> = counts.iter().map(Discounts::from_counts).collect();
        // From order 0: the probability that every word has before anything is known.
        let uniform = 1.0 / (words.len() - 1) as f64;
        let mut estimates: Vec<(Estimate, FxHashMap<Key, f64>)> = Vec::new();
        for (index, counts) in counts.iter().enumerate() {
            let order = index + 1;
            let estimate = Estimate::new(order, counts, &discounts[index], self.min_count(order));
            let probabilities = estimate.interpolate(|ngram| match estimates.last() {
                Some((_, shorter)) => shorter[&key(&ngram[1..order])],
                None => uniform,
            });
            estimates.push((estimate, probabilities));
        }
        let mut tables: Vec<Table> = Vec::new();
        for (index, (estimate, probabilities)) in estimates.iter().enumerate() {
            let order = index + 1;
            let backoffs = estimates.get(order).map(|(longer, _)| &longer.backoffs);
            let backoff = |ngram: &Key| match backoffs.and_then(|backoffs| backoffs.get(ngram)) {
                Some(backoff) => backoff.log10() as f32,
                None => 0.0,
            };
            let mut table = Table::new(order);
            if order == 1 {
                let unknown = estimate.backoffs[&key(&[])] * uniform;
                table.push(&[0], unknown.log10() as f32, 0.0);
                table.push(&[START_ID], -99.0, backoff(&key(&[START_ID])));
            }
            for ngram in estimate.kept.iter() {
                table.push(&ngram[..order], probabilities[ngram].log10() as f32, backoff(ngram));
            }
            table.sort();
            tables.push(table);
        }
        let model = NgramModel::assemble(words, tables)?;
        Ok(Trained { model, discounts, sentences: read, words: words_read })
    }

    fn validate(&self) -> Result<()> {
        if !(1..=super::MAX_ORDER).contains(&self.order) {
            let expected = format!("1 to {}", super::MAX_ORDER);
            return Err(NgramError::Setting {
                key: "order",
                found: self.order.to_string(),
                expected,
            });
        }
        if !self.min_counts.is_sorted() {
            // A kept n-gram would start with one that was not kept.
            let found = format!("{:?}", self.min_counts);
            let expected = "numbers that do not decrease".to_owned();
            return Err(NgramError::Setting { key: "min_counts", found, expected });
        }
        Ok(())
    }

    fn min_count(&self, order: usize) -> u64 {
        match order {
            1 => 0,
            _ => self.min_counts.get(order - 2).or(self.min_counts.last()).copied().unwrap_or(0),
        }
    }
}

impl Discounts {
    /// Chen and Goodman's, from how many n-grams have counts of 1 to 4.
    fn from_counts(counts: &FxHashMap<Key, Count>) -> Self {
        let mut of = [0u64; 5];
        for count in counts.values() {
            if let Some(n) = of.get_mut(count.adjusted as usize) {
                *n += 1;
            }
        }
        let [_, n1, n2, n3, n4] = of.map(|n| n as f64);
        let y = n1 / (n1 + 2.0 * n2);
        let by_count = [1.0 - 2.0 * y * n2 / n1, 2.0 - 3.0 * y * n3 / n2, 3.0 - 4.0 * y * n4 / n3];
        let sensible = by_count.iter().zip(1..).all(|(d, n)| *d > 0.0 && *d <= f64::from(n));
        if n4 > 0.0 && sensible {
            Self { by_count, fixed: false }
        } else {
            Self { by_count: [0.5, 1.0, 1.5], fixed: true }
        }
    }

    fn of(&self, count: u64) -> f64 {
        match count {
            0 => 0.0,
            1..=2 => self.by_count[count as usize - 1],
            _ => self.by_count[2],
        }
    }
}

/// One order's share of the interpolation.
struct Estimate {
    order: usize,
    /// What the counts alone say, discounted; 0 for n-grams that are not kept.
    discounted: FxHashMap<Key, f64>,
    /// By context: what is left for shorter n-grams.
    backoffs: FxHashMap<Key, f64>,
    kept: Vec<Key>,
}

impl Estimate {
    fn new(
        order: usize,
        counts: &FxHashMap<Key, Count>,
        discounts: &Discounts,
        min_count: u64,
    ) -> Self {
        let mut totals: FxHashMap<Key, u64> = FxHashMap::default();
        for (ngram, count) in counts {
            *totals.entry(key(&ngram[..order - 1])).or_default() += count.adjusted;
        }
        let mut estimate = Self {
            order,
            discounted: FxHashMap::default(),
            backoffs: FxHashMap::default(),
            kept: Vec::new(),
        };
        // Sorted, so that sums do not depend on the order of a hash table.
        let mut sorted: Vec<_> = counts.iter().collect();
        sorted.sort_unstable_by_key(|(ngram, _)| **ngram);
        for (ngram, count) in sorted {
            let context = key(&ngram[..order - 1]);
            let total = totals[&context] as f64;
            let kept = count.raw >= min_count;
            let discount = discounts.of(count.adjusted);
            let taken = if kept { discount } else { count.adjusted as f64 };
            *estimate.backoffs.entry(context).or_default() += taken / total;
            estimate.discounted.insert(*ngram, (count.adjusted as f64 - taken) / total);
            if kept {
                estimate.kept.push(*ngram);
            }
        }
        estimate
    }

    /// The probabilities, given those of the n-grams one word shorter.
    fn interpolate(&self, shorter: impl Fn(&Key) -> f64) -> FxHashMap<Key, f64> {
        let probability = |(ngram, discounted): (&Key, &f64)| {
            let backoff = self.backoffs[&key(&ngram[..self.order - 1])];
            (*ngram, discounted + backoff * shorter(ngram))
        };
        self.discounted.iter().map(probability).collect()
    }
}
