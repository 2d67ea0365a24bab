//! The beam search: which prefixes survive from frame to frame.

use super::{
    decoded::{Decoded, FrameTimes, Hypothesis, check, log_add, words},
    decoder::Decoder,
    forced::force_align,
    prefixes::{Memory, NONE, Prefixes},
};
use crate::Result;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::cmp::Ordering;

/// The prefix tree is pruned when it has this many nodes.
const DEAD: usize = 4096;

impl Decoder {
    /// Decodes one utterance, `[frames, vocabulary]`.
    ///
    /// Kept to a lexicon, an utterance that ends within a word loses that part of a word, unless
    /// another hypothesis ends well.
    ///
    /// # Errors
    /// When the columns are not the vocabulary's, or a number is no log-probability.
    pub fn decode(&self, log_probs: ArrayView2<'_, f32>, times: FrameTimes) -> Result<Decoded> {
        check(log_probs, &self.vocabulary)?;
        let mut search = Search::new(self);
        for frame in log_probs.outer_iter() {
            search.advance(frame);
        }
        let nbest = search.finish();
        let label = nbest.first().map_or(&[][..], |best| &best.ids);
        let spans = force_align(log_probs, label, self.vocabulary.blank())?;
        Ok(Decoded { words: words(&self.vocabulary, &spans, times), nbest })
    }

    /// Decodes several utterances on all threads; the answers are in the same order.
    pub fn decode_all(
        &self,
        utterances: &[ArrayView2<'_, f32>],
        times: FrameTimes,
    ) -> Vec<Result<Decoded>> {
        utterances.par_iter().map(|log_probs| self.decode(*log_probs, times)).collect()
    }
}

/// A search in progress.
#[derive(Clone, Debug)]
pub(super) struct Search<'d> {
    decoder: &'d Decoder,
    pub(super) prefixes: Prefixes,
    /// The beam, best first.
    pub(super) active: Vec<Active>,
    /// How many prefixes there were after the last time that dead ones were forgotten.
    living: usize,
    /// Buffer of candidates for the next beam.
    candidates: Vec<Candidate>,
    /// The tokens tried in the frame at hand, best first.
    tokens: Vec<(u32, f64)>,
}

/// A prefix and the probability of the CTC paths that lead to it; natural logarithms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub(super) prefix: u32,
    /// Of those that end in a blank.
    blank: f64,
    /// Of those that end in the last token.
    token: f64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// [`NONE`] for one that was not met before.
    prefix: u32,
    parent: u32,
    last: u32,
    blank: f64,
    token: f64,
    score: f64,
    memory: Memory,
}

impl<'d> Search<'d> {
    pub(super) fn new(decoder: &'d Decoder) -> Self {
        let root = Active { prefix: 0, blank: 0.0, token: f64::NEG_INFINITY };
        Self {
            decoder,
            prefixes: Prefixes::new(decoder.start()),
            active: vec![root],
            living: 1,
            candidates: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Takes one frame, `[vocabulary]`.
    pub(super) fn advance(&mut self, frame: ArrayView1<'_, f32>) {
        self.choose_tokens(frame);
        self.candidates.clear();
        self.stay(frame);
        self.grow();
        self.prune();
        // By doubling, so that the work does not grow with the square of the length.
        if self.prefixes.len() > 2 * self.living + DEAD {
            self.forget(0);
        }
    }

    /// The hypotheses of the beam, best first; equal texts are merged.
    pub(super) fn finish(&self) -> Vec<Hypothesis> {
        let ended = |active: &Active| {
            let end = self.decoder.end(&self.prefixes.get(active.prefix).memory)?;
            Some(self.hypothesis(active.prefix, active, end.language))
        };
        let mut found: Vec<Hypothesis> = self.active.iter().filter_map(ended).collect();
        if found.is_empty() {
            let cut = |active: &Active| {
                let whole = |prefix: u32| {
                    let end = self.decoder.end(&self.prefixes.get(prefix).memory)?;
                    Some(self.hypothesis(prefix, active, end.language))
                };
                self.prefixes.path(active.prefix).chain([0]).find_map(whole)
            };
            found = self.active.iter().filter_map(cut).collect();
        }
        found.sort_by(better);
        let mut places: FxHashMap<String, usize> = FxHashMap::default();
        let mut nbest: Vec<Hypothesis> = Vec::new();
        for hypothesis in found {
            match places.get(&hypothesis.text) {
                Some(place) => {
                    let same = &mut nbest[*place];
                    same.score = log_add(same.score, hypothesis.score);
                    same.acoustic = log_add(same.acoustic, hypothesis.acoustic);
                }
                None => {
                    places.insert(hypothesis.text.clone(), nbest.len());
                    nbest.push(hypothesis);
                }
            }
        }
        nbest.sort_by(better);
        nbest.truncate(self.decoder.config.nbest);
        nbest
    }

    /// Forgets dead prefixes and those before `root`, with which all living ones start.
    pub(super) fn forget(&mut self, root: u32) {
        self.prefixes.keep(root, self.active.iter_mut().map(|active| &mut active.prefix));
        self.living = self.prefixes.len();
    }

    fn hypothesis(&self, prefix: u32, active: &Active, language: f64) -> Hypothesis {
        let ids = self.prefixes.label(prefix);
        let text = self.decoder.vocabulary.decode(&ids);
        let acoustic = log_add(active.blank, active.token);
        Hypothesis { ids, text, score: acoustic + language, acoustic, language }
    }

    fn choose_tokens(&mut self, frame: ArrayView1<'_, f32>) {
        let config = &self.decoder.config;
        let floor = config.min_probability.ln();
        let tokens = (0..).zip(frame).map(|(token, value)| (token, f64::from(*value)));
        self.tokens.clear();
        self.tokens.extend(tokens.filter(|(token, value)| {
            *value >= floor
                && *value > f64::NEG_INFINITY
                && self.decoder.vocabulary.is_written(*token)
        }));
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.tokens.len() > config.max_tokens {
            self.tokens.select_nth_unstable_by(config.max_tokens - 1, order);
            self.tokens.truncate(config.max_tokens);
        }
        self.tokens.sort_unstable_by(order);
    }

    /// Prefixes that stay as they are: by a blank, or by their last token again.
    fn stay(&mut self, frame: ArrayView1<'_, f32>) {
        let blank = f64::from(frame[self.decoder.vocabulary.blank() as usize]);
        for (slot, active) in (0..).zip(&self.active) {
            self.prefixes.set_slot(active.prefix, slot);
            let prefix = self.prefixes.get(active.prefix);
            let last = prefix.token;
            let repeat = if last == NONE { f64::NEG_INFINITY } else { frame[last as usize].into() };
            self.candidates.push(Candidate {
                prefix: active.prefix,
                parent: prefix.parent,
                last,
                blank: log_add(active.blank, active.token) + blank,
                token: active.token + repeat,
                score: 0.0,
                memory: prefix.memory,
            });
        }
    }

    /// Prefixes that one more token makes.
    fn grow(&mut self) {
        let limit = self.limit();
        for active in &self.active {
            let prefix = *self.prefixes.get(active.prefix);
            let any = log_add(active.blank, active.token);
            for (token, value) in &self.tokens {
                // The same token again is a new one only behind a blank.
                let before = if *token == prefix.token { active.blank } else { any };
                let log_probability = before + value;
                if log_probability == f64::NEG_INFINITY {
                    continue;
                }
                let known = self.prefixes.find(active.prefix, *token);
                let known = known.map(|child| (child, self.prefixes.get(child)));
                if let Some((_, child)) = known
                    && let Some(candidate) = self.candidates.get_mut(child.slot as usize)
                {
                    candidate.token = log_add(candidate.token, log_probability);
                    continue;
                }
                if log_probability + prefix.memory.language < limit {
                    continue;
                }
                let memory = match known {
                    Some((_, child)) => child.memory,
                    None => match self.decoder.extend(&prefix.memory, *token) {
                        Some(memory) => memory,
                        None => continue,
                    },
                };
                self.candidates.push(Candidate {
                    prefix: known.map_or(NONE, |(child, _)| child),
                    parent: active.prefix,
                    last: *token,
                    blank: f64::NEG_INFINITY,
                    token: log_probability,
                    score: 0.0,
                    memory,
                });
            }
        }
    }

    /// Pruning threshold of new prefixes, before the language model is applied.
    fn limit(&self) -> f64 {
        let score =
            |staying: &Candidate| log_add(staying.blank, staying.token) + staying.memory.language;
        let scores = self.candidates.iter().map(score);
        let (mut best, mut worst) = (f64::NEG_INFINITY, f64::INFINITY);
        for score in scores {
            (best, worst) = (best.max(score), worst.min(score));
        }
        // A full beam is kept by those that stay.
        let full = self.candidates.len() >= self.decoder.config.width;
        let worst = if full { worst } else { f64::NEG_INFINITY };
        (best - self.decoder.config.max_distance).max(worst) - self.decoder.optimism()
    }

    /// The next beam: the best candidates.
    fn prune(&mut self) {
        let config = &self.decoder.config;
        for active in &self.active {
            self.prefixes.set_slot(active.prefix, NONE);
        }
        let mut best = f64::NEG_INFINITY;
        for candidate in &mut self.candidates {
            candidate.score = log_add(candidate.blank, candidate.token) + candidate.memory.language;
            best = best.max(candidate.score);
        }
        if self.candidates.len() > config.width {
            self.candidates.select_nth_unstable_by(config.width - 1, order);
            self.candidates.truncate(config.width);
        }
        self.candidates.sort_unstable_by(order);
        let limit = best - config.max_distance;
        self.active.clear();
        for candidate in &self.candidates {
            // What is impossible only stays where nothing is possible.
            if !self.active.is_empty()
                && (candidate.score < limit || candidate.score == f64::NEG_INFINITY)
            {
                break;
            }
            let prefix = match candidate.prefix {
                NONE => self.prefixes.add(candidate.parent, candidate.last, candidate.memory),
                known => known,
            };
            let Candidate { blank, token, .. } = *candidate;
            self.active.push(Active { prefix, blank, token });
        }
    }
}

/// Best first; equals in an order that does not depend on how they were found.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.score.total_cmp(&a.score).then((a.parent, a.last).cmp(&(b.parent, b.last)))
}

fn better(a: &Hypothesis, b: &Hypothesis) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| a.ids.cmp(&b.ids))
}
