//! Putting n-grams and their numbers into a model.

use super::{
    Context, Edge, NgramModel, UNKNOWN, UNKNOWN_LOG10,
    error::{NgramError, Result},
};
use rustc_hash::FxHashMap;
use std::{cmp::Ordering, sync::Arc};

/// N-grams of one order in any order, with their base-10 logarithms.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    order: usize,
    /// `order` words each.
    words: Vec<u32>,
    /// Probability and backoff. A probability of NaN is to be filled in from shorter n-grams.
    numbers: Vec<(f32, f32)>,
}

impl Table {
    pub(super) fn new(order: usize) -> Self {
        Self { order, ..Self::default() }
    }

    pub(super) fn push(&mut self, words: &[u32], log10: f32, backoff: f32) {
        debug_assert_eq!(words.len(), self.order);
        self.words.extend_from_slice(words);
        self.numbers.push((log10, backoff));
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The words of one n-gram.
    pub(super) fn ngram(&self, at: usize) -> &[u32] {
        &self.words[at * self.order..(at + 1) * self.order]
    }

    /// Sorts by words. Answers where an n-gram is that occurs twice.
    pub(super) fn sort(&mut self) -> Option<usize> {
        let mut places: Vec<usize> = (0..self.len()).collect();
        places.sort_by(|a, b| self.ngram(*a).cmp(self.ngram(*b)));
        let words = places.iter().flat_map(|at| self.ngram(*at).iter().copied()).collect();
        self.numbers = places.iter().map(|at| self.numbers[*at]).collect();
        self.words = words;
        (1..self.len()).find(|at| self.ngram(*at - 1) == self.ngram(*at))
    }

    /// Where an n-gram is, in a sorted table.
    fn find(&self, ngram: &[u32]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.ngram(middle).cmp(ngram) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

impl NgramModel {
    /// A model of sorted tables, from order 1 up. `words` are those of order 1 by id, the unknown
    /// word first; where the tables lack the unknown word, it is made up.
    pub(super) fn assemble(words: Vec<Arc<str>>, mut tables: Vec<Table>) -> Result<Self> {
        debug_assert_eq!(words.first().map(AsRef::as_ref), Some(UNKNOWN));
        let has_unknown = tables.first().is_some_and(|unigrams| unigrams.find(&[0]).is_some());
        if !has_unknown && let Some(unigrams) = tables.first_mut() {
            unigrams.push(&[0], UNKNOWN_LOG10, 0.0);
            unigrams.sort();
        }
        add_missing_contexts(&mut tables);
        let total: usize = tables.iter().map(Table::len).sum();
        if u32::try_from(total).is_err() {
            let cause = format!("{total} n-grams are too many; expected fewer than 2^32");
            return Err(NgramError::Model { cause });
        }
        let ids: FxHashMap<_, _> = words.iter().cloned().zip(0..).collect();
        let root = Context { backoff: 0.0, shorter: 0, first: 0 };
        let mut model = Self {
            order: tables.len(),
            words,
            ids,
            has_unknown,
            contexts: vec![root],
            edges: Vec::with_capacity(total),
            starts: vec![0],
        };
        // For each n-gram of the tables before, the longest context at its end.
        let mut targets: Vec<Vec<u32>> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let longer = tables.get(index + 1);
            model.starts.push(model.contexts.len() as u32);
            let mut continued = longer.map_or(0, Table::len);
            let mut own = Vec::with_capacity(table.len());
            // Where the continuations of the n-gram at hand start in the longer table.
            let mut first = 0;
            for at in 0..table.len() {
                let (ngram, (log10, backoff)) = (table.ngram(at), table.numbers[at]);
                let shorter = (1..table.order)
                    .find_map(|skip| {
                        let order = table.order - skip;
                        Some(targets[order - 1][tables[order - 1].find(&ngram[skip..])?])
                    })
                    .unwrap_or(0);
                let last = longer.map_or(0, |longer| {
                    let rest = first..longer.len();
                    first + rest.take_while(|at| longer.ngram(*at).starts_with(ngram)).count()
                });
                continued = continued.saturating_sub(last - first);
                // One that nothing follows and that costs nothing to leave is as good as shorter.
                let next = if longer.is_some() && (last > first || backoff != 0.0) {
                    let offset = model.edges.len() + (table.len() - at) + first;
                    model.contexts.push(Context { backoff, shorter, first: offset as u32 });
                    (model.contexts.len() - 1) as u32
                } else {
                    shorter
                };
                first = last;
                own.push(next);
                let word = ngram[table.order - 1];
                model.edges.push(Edge { word, log10, next });
            }
            debug_assert_eq!(continued, 0, "every n-gram continues one of the table before");
            targets.push(own);
        }
        model.starts.truncate(tables.len());
        model.fill_in();
        Ok(model)
    }

    /// Gives n-grams that are only there as contexts the probability that backing off gives them.
    fn fill_in(&mut self) {
        for context in 1..self.contexts.len() as u32 {
            let Context { backoff, shorter, .. } = self.contexts[context as usize];
            for at in self.continuations(context) {
                if self.edges[at].log10.is_nan() {
                    let word = super::WordId(self.edges[at].word);
                    self.edges[at].log10 = backoff + self.score(super::State(shorter), word).0;
                }
            }
        }
    }
}

/// Adds what pruned models may lack: the n-grams that longer ones start with.
fn add_missing_contexts(tables: &mut [Table]) {
    for index in (1..tables.len()).rev() {
        let (shorter, longer) = tables.split_at_mut(index);
        let (Some(contexts), Some(table)) = (shorter.last_mut(), longer.first()) else { continue };
        let mut missing: Vec<&[u32]> = (0..table.len())
            .map(|at| &table.ngram(at)[..contexts.order])
            .filter(|context| contexts.find(context).is_none())
            .collect();
        missing.dedup();
        if missing.is_empty() {
            continue;
        }
        for context in &missing {
            contexts.words.extend_from_slice(context);
            contexts.numbers.push((f32::NAN, 0.0));
        }
        contexts.sort();
    }
}
