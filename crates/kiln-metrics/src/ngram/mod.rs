//! N-gram language models.
//!
//! - [`NgramModel`] over words: read and written as ARPA files, trained with modified Kneser–Ney
//!   smoothing ([`KneserNey`]), scored word by word. Its logarithms are to base 10, as in ARPA files.
//! - [`DirichletNgrams`] over token ids: the baseline of language models.

mod arpa;
mod assemble;
mod count;
mod dirichlet;
mod error;
mod kneser_ney;

pub use dirichlet::DirichletNgrams;
pub use error::{NgramError, Result};
pub use kneser_ney::{Discounts, KneserNey, Trained};

use crate::perplexity::Perplexity;
use rustc_hash::FxHashMap;
use std::{f64::consts::LN_10, sync::Arc};

/// The highest order that is trained or read.
pub const MAX_ORDER: usize = 6;

const UNKNOWN: &str = "<unk>";
const START: &str = "<s>";
const END: &str = "</s>";

/// What a model without `<unk>` gives an unknown word.
const UNKNOWN_LOG10: f32 = -100.0;

/// A word of an n-gram model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordId(u32);

impl WordId {
    /// Any word that the model does not know.
    pub const UNKNOWN: Self = Self(0);
}

/// What a model remembers of the words before: at most as many as matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(u32);

/// An n-gram language model with backoff.
///
/// Every n-gram that others start with is a context; a context holds its continuations, sorted,
/// and leads to the longest shorter context. Scoring a word walks from a context along those
/// shorter ones until one of them knows the word.
#[derive(Clone, Debug)]
pub struct NgramModel {
    order: usize,
    words: Vec<Arc<str>>,
    ids: FxHashMap<Arc<str>, u32>,
    /// Whether `<unk>` is part of the model, or only stands in for what is missing.
    has_unknown: bool,
    /// By order from 0, the empty context first, then by words.
    contexts: Vec<Context>,
    /// By context, then by word. The first are the unigrams, one a word.
    edges: Vec<Edge>,
    /// The first context of each order.
    starts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Context {
    backoff: f32,
    /// The longest context that is a suffix of this one; the empty one is its own.
    shorter: u32,
    /// Its first continuation; the last is before the next context's first.
    first: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    word: u32,
    log10: f32,
    /// The longest context at the end of this n-gram.
    next: u32,
}

impl NgramModel {
    /// The longest n-gram.
    pub fn order(&self) -> usize {
        self.order
    }

    /// How many n-grams of each order there are, from 1 up.
    pub fn counts(&self) -> Vec<usize> {
        let ends = (1..=self.order).map(|order| {
            let start = self.starts.get(order).and_then(|at| self.contexts.get(*at as usize));
            start.map_or(self.edges.len(), |context| context.first as usize)
        });
        let mut before = usize::from(!self.has_unknown);
        ends.map(|end| end - std::mem::replace(&mut before, end)).collect()
    }

    /// A word's id; [`WordId::UNKNOWN`] for one that the model does not know.
    pub fn id(&self, word: &str) -> WordId {
        WordId(self.ids.get(word).copied().unwrap_or_default())
    }

    /// The words and their ids, without those for unknown words and ends of sentences.
    pub fn words(&self) -> impl Iterator<Item = (WordId, &str)> + Clone {
        let words = self.words.iter().zip(0..).map(|(word, id)| (WordId(id), word.as_ref()));
        words.filter(|(_, word)| ![UNKNOWN, START, END].contains(word))
    }

    /// The end of a sentence; unknown where the model has none.
    pub fn end(&self) -> WordId {
        self.id(END)
    }

    /// The state at the start of a sentence.
    pub fn start(&self) -> State {
        match self.id(START) {
            WordId::UNKNOWN => self.empty(),
            start => State(self.edges[start.0 as usize].next),
        }
    }

    /// The state that knows nothing of what was before.
    pub fn empty(&self) -> State {
        State(0)
    }

    /// The base-10 logarithm of the probability that `word` follows, and the state behind it.
    pub fn score(&self, state: State, word: WordId) -> (f32, State) {
        let mut context = state.0;
        let mut backoff = 0.0;
        loop {
            if let Some(edge) = self.edge(context, word.0) {
                return (backoff + edge.log10, State(edge.next));
            }
            let missed = self.contexts[context as usize];
            backoff += missed.backoff;
            context = missed.shorter;
        }
    }

    /// The base-10 logarithm of the probability of a sentence and its end.
    pub fn sentence(&self, sentence: &str) -> f64 {
        self.scores(sentence).map(|(_, log10)| f64::from(log10)).sum()
    }

    /// The negative log-likelihood of a sentence and its end, and how many of its words the model
    /// does not know; those are in no sum.
    pub fn perplexity(&self, sentence: &str) -> (Perplexity, u64) {
        let (mut sum, mut unknown) = (Perplexity::default(), 0);
        let ends = sentence.split_whitespace().map(|word| word.len() as u64 + 1).chain([0]);
        for ((word, log10), bytes) in self.scores(sentence).zip(ends) {
            if word == WordId::UNKNOWN {
                unknown += 1;
            } else {
                sum += Perplexity { nats: -f64::from(log10) * LN_10, tokens: 1, bytes };
            }
        }
        (sum, unknown)
    }

    /// Each word of a sentence and its end, with the base-10 logarithm of its probability.
    fn scores(&self, sentence: &str) -> impl Iterator<Item = (WordId, f32)> {
        let end = Some(self.end()).filter(|end| *end != WordId::UNKNOWN);
        let words = sentence.split_whitespace().map(|word| self.id(word)).chain(end);
        words.scan(self.start(), |state, word| {
            let (log10, next) = self.score(*state, word);
            *state = next;
            Some((word, log10))
        })
    }

    /// The continuation of a context by a word. The empty context knows all words.
    fn edge(&self, context: u32, word: u32) -> Option<Edge> {
        if context == 0 {
            return self.edges.get(word as usize).copied();
        }
        let edges = &self.edges[self.continuations(context)];
        edges.binary_search_by_key(&word, |edge| edge.word).ok().map(|at| edges[at])
    }

    fn continuations(&self, context: u32) -> std::ops::Range<usize> {
        let next = self.contexts.get(context as usize + 1);
        let end = next.map_or(self.edges.len(), |next| next.first as usize);
        self.contexts[context as usize].first as usize..end
    }
}

#[cfg(test)]
mod tests;
