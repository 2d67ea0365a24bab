//! Word lattices: the n-best hypotheses as an acyclic graph.

use super::{
    decoded::{Decoded, FrameTimes, check, words},
    decoder::Decoder,
    forced::force_align,
};
use crate::{Result, transcript::Word};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Word lattice: its paths from node 0 to the last node are exactly the hypotheses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lattice {
    /// How many nodes there are.
    pub nodes: usize,
    /// Sorted by `from`, which is always smaller than `to`.
    pub arcs: Vec<LatticeArc>,
}

/// A word between two nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatticeArc {
    /// The node it starts at.
    pub from: usize,
    /// The node it ends at.
    pub to: usize,
    /// The word; `None` on the one arc of an empty hypothesis.
    pub word: Option<String>,
    /// When it starts in the best hypothesis that has it, in s.
    pub start: f64,
    /// When it ends there, in s.
    pub end: f64,
    /// The posterior of all hypotheses that have it: those from a node sum to those to it, those
    /// from node 0 to one.
    pub posterior: f64,
}

impl Lattice {
    /// The lattice of the hypotheses of an utterance, `[frames, vocabulary]`, weighted by
    /// [`Decoded::posteriors`].
    ///
    /// # Errors
    /// When the log-probabilities are not those that were decoded.
    pub fn new(
        decoder: &Decoder,
        log_probs: ArrayView2<'_, f32>,
        decoded: &Decoded,
        times: FrameTimes,
        scale: f64,
    ) -> Result<Self> {
        check(log_probs, decoder.vocabulary())?;
        let blank = decoder.vocabulary().blank();
        let mut readings = Vec::with_capacity(decoded.nbest.len());
        for (hypothesis, posterior) in decoded.nbest.iter().zip(decoded.posteriors(scale)) {
            let spans = force_align(log_probs, &hypothesis.ids, blank)?;
            readings.push((words(decoder.vocabulary(), &spans, times), posterior));
        }
        Ok(Self::of(readings))
    }

    /// Hypotheses in the order of their scores, with their posteriors.
    fn of(readings: Vec<(Vec<Word>, f64)>) -> Self {
        let mut tree = Tree { nodes: vec![BTreeMap::new()] };
        for (words, posterior) in readings {
            tree.add(words, posterior);
        }
        tree.merge()
    }
}

/// Prefix tree of hypotheses. Node 0 is the root; what ends a hypothesis leads to [`END`].
struct Tree {
    nodes: Vec<BTreeMap<(Option<String>, bool), Branch>>,
}

struct Branch {
    to: usize,
    start: f64,
    end: f64,
    posterior: f64,
}

const END: usize = usize::MAX;

impl Tree {
    fn add(&mut self, words: Vec<Word>, posterior: f64) {
        let last = words.len().saturating_sub(1);
        let words: Vec<_> = match words.is_empty() {
            true => vec![(None, 0.0, 0.0)],
            false => words.into_iter().map(|w| (Some(w.text), w.start, w.end)).collect(),
        };
        let mut at = 0;
        for (index, (word, start, end)) in words.into_iter().enumerate() {
            let ends = index == last;
            let fresh = self.nodes.len();
            let branch = self.nodes[at].entry((word, ends)).or_insert_with(|| {
                let to = if ends { END } else { fresh };
                Branch { to, start, end, posterior: 0.0 }
            });
            branch.posterior += posterior;
            at = branch.to;
            if at == fresh {
                self.nodes.push(BTreeMap::new());
            }
        }
    }

    /// The lattice: nodes from which the same words follow become one.
    fn merge(self) -> Lattice {
        // Classes count from the end of the readings, which is class 0.
        let mut classes = vec![0; self.nodes.len()];
        let mut known: BTreeMap<Vec<(Option<String>, usize)>, usize> = BTreeMap::new();
        let mut members: Vec<Vec<usize>> = vec![Vec::new()];
        let class = |to: usize, classes: &[usize]| if to == END { 0 } else { classes[to] };
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let follows: Vec<_> =
                node.iter().map(|((word, _), b)| (word.clone(), class(b.to, &classes))).collect();
            let next = members.len();
            classes[at] = *known.entry(follows).or_insert(next);
            if classes[at] == next {
                members.push(Vec::new());
            }
            members[classes[at]].push(at);
        }
        // What follows a node has a smaller class: turned around, arcs lead forwards.
        let last = members.len() - 1;
        let mut arcs: Vec<LatticeArc> = Vec::new();
        for from in (1..members.len()).rev() {
            let first = arcs.len();
            // The earliest node belongs to the best reading.
            for at in members[from].iter().rev() {
                for ((word, _), branch) in &self.nodes[*at] {
                    let to = last - class(branch.to, &classes);
                    match arcs[first..].iter_mut().find(|arc| arc.to == to && arc.word == *word) {
                        Some(arc) => arc.posterior += branch.posterior,
                        None => arcs.push(LatticeArc {
                            from: last - from,
                            to,
                            word: word.clone(),
                            start: branch.start,
                            end: branch.end,
                            posterior: branch.posterior,
                        }),
                    }
                }
            }
        }
        Lattice { nodes: members.len(), arcs }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::readings;
    use super::*;
    use proptest::prelude::*;

    fn lattice(weighted: &[(&str, f64)]) -> Lattice {
        let word = |(index, text): (usize, &str)| Word {
            text: text.into(),
            start: index as f64,
            end: index as f64 + 0.5,
            confidence: 1.0,
        };
        let words = |text: &str| text.split_whitespace().enumerate().map(word).collect();
        let decoded = readings(weighted);
        let posteriors = decoded.posteriors(1.0);
        let texts = decoded.nbest.iter().map(|hypothesis| words(&hypothesis.text));
        Lattice::of(texts.zip(posteriors).collect())
    }

    /// All paths with the least posterior on their way.
    fn paths(lattice: &Lattice, from: usize) -> Vec<String> {
        if from == lattice.nodes - 1 {
            return vec![String::new()];
        }
        let arcs = lattice.arcs.iter().filter(|arc| arc.from == from);
        arcs.flat_map(|arc| {
            assert!(arc.from < arc.to && arc.to < lattice.nodes);
            let word = arc.word.clone().unwrap_or_default();
            paths(lattice, arc.to).into_iter().map(move |rest| format!("{word} {rest}"))
        })
        .map(|path| path.trim().to_owned())
        .collect()
    }

    #[test]
    fn by_hand() {
        let lattice = lattice(&[("a b d", 0.5), ("a c d", 0.25), ("a", 0.25)]);
        // Node 1 is behind `a`, node 2 before `d`.
        assert_eq!(lattice.nodes, 4);
        let arcs: Vec<_> = lattice
            .arcs
            .iter()
            .map(|arc| (arc.from, arc.to, arc.word.as_deref().unwrap(), arc.posterior as f32))
            .collect();
        assert_eq!(
            arcs,
            [
                (0, 1, "a", 0.75),
                (0, 3, "a", 0.25),
                (1, 2, "b", 0.5),
                (1, 2, "c", 0.25),
                (2, 3, "d", 0.75)
            ]
        );
        assert_eq!((lattice.arcs[4].start, lattice.arcs[4].end), (2.0, 2.5));
    }

    proptest! {
        #[test]
        fn paths_are_the_readings(
            texts in prop::collection::btree_set("([a-c]( [a-c]){0,3})?", 1..8),
        ) {
            let weighted: Vec<(&str, f64)> =
                texts.iter().zip(1..).map(|(text, n)| (text.as_str(), 1.0 / f64::from(n))).collect();
            let lattice = lattice(&weighted);
            let mut found = paths(&lattice, 0);
            found.sort();
            prop_assert_eq!(found, texts.iter().cloned().collect::<Vec<_>>());
            for node in 0..lattice.nodes - 1 {
                let flow = |end: fn(&LatticeArc) -> usize| -> f64 {
                    lattice.arcs.iter().filter(|arc| end(arc) == node).map(|arc| arc.posterior).sum()
                };
                let (into, out) = (if node == 0 { 1.0 } else { flow(|arc| arc.to) }, flow(|arc| arc.from));
                prop_assert!((into - out).abs() < 1e-9);
            }
        }
    }
}
