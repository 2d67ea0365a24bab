//! The prefix tree of a beam search: prefixes are nodes, by number.

use super::lexicon::Place;
use kiln_metrics::ngram::State;

/// Stands for no prefix.
pub(super) const NONE: u32 = u32::MAX;

/// A prefix: the label so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    /// The label without its last token; [`NONE`] for the root.
    pub(super) parent: u32,
    /// The last token; [`NONE`] where there was none.
    pub(super) token: u32,
    child: u32,
    sibling: u32,
    /// Which of the beam's hypotheses this is in the frame at hand; [`NONE`] where none.
    pub(super) slot: u32,
    /// The state of language model and lexicon.
    pub(super) memory: Memory,
}

/// Decoder state of a prefix: of the language model and the lexicon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) state: Option<State>,
    pub(super) place: Place,
    /// The language-model score up to here.
    pub(super) language: f64,
}

/// The prefix tree. Parents stand before their children; the root is first.
#[derive(Clone, Debug)]
pub(super) struct Prefixes {
    nodes: Vec<Prefix>,
}

impl Prefixes {
    pub(super) fn new(memory: Memory) -> Self {
        Self { nodes: vec![node(NONE, NONE, memory)] }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, prefix: u32) -> &Prefix {
        &self.nodes[prefix as usize]
    }

    pub(super) fn set_slot(&mut self, prefix: u32, slot: u32) {
        self.nodes[prefix as usize].slot = slot;
    }

    /// A prefix with one more token, if it was met before.
    pub(super) fn find(&self, parent: u32, token: u32) -> Option<u32> {
        let mut child = self.get(parent).child;
        while child != NONE && self.get(child).token != token {
            child = self.get(child).sibling;
        }
        (child != NONE).then_some(child)
    }

    /// Adds a prefix that was not met before.
    pub(super) fn add(&mut self, parent: u32, token: u32, memory: Memory) -> u32 {
        let child = self.nodes.len() as u32;
        let mut node = node(parent, token, memory);
        node.sibling = std::mem::replace(&mut self.nodes[parent as usize].child, child);
        self.nodes.push(node);
        child
    }

    /// The longest prefix that both start with.
    pub(super) fn common(&self, mut a: u32, mut b: u32) -> u32 {
        while a != b {
            // Parents have smaller numbers.
            if a > b {
                a = self.get(a).parent;
            } else {
                b = self.get(b).parent;
            }
        }
        a
    }

    /// The tokens behind the root up to a prefix.
    pub(super) fn label(&self, prefix: u32) -> Vec<u32> {
        let mut label: Vec<u32> = self.path(prefix).map(|prefix| self.get(prefix).token).collect();
        label.reverse();
        label
    }

    /// The prefix and the shorter ones it starts with, down to one token.
    pub(super) fn path(&self, prefix: u32) -> impl Iterator<Item = u32> {
        let next = |prefix: &u32| Some(self.get(*prefix).parent);
        std::iter::successors(Some(prefix), next).take_while(|prefix| *prefix != 0)
    }

    /// Forgets all prefixes that none of these starts with, and what is before `root`, which
    /// becomes the root: it keeps its last token, but labels start behind it. The prefixes given,
    /// which all start with `root`, become their new numbers.
    pub(super) fn keep<'a>(&mut self, root: u32, prefixes: impl IntoIterator<Item = &'a mut u32>) {
        let prefixes: Vec<&mut u32> = prefixes.into_iter().collect();
        // First whether a prefix is kept, then its new number.
        let mut numbers = vec![NONE; self.nodes.len()];
        numbers[root as usize] = 0;
        for prefix in &prefixes {
            let mut at = **prefix;
            while numbers[at as usize] == NONE {
                numbers[at as usize] = 0;
                at = self.get(at).parent;
            }
        }
        let mut kept: Vec<Prefix> = Vec::new();
        for (old, prefix) in self.nodes.iter().enumerate().skip(root as usize) {
            if numbers[old] == NONE {
                continue;
            }
            let number = kept.len() as u32;
            let mut prefix = Prefix { child: NONE, sibling: NONE, ..*prefix };
            if number == 0 {
                prefix.parent = NONE;
            } else {
                prefix.parent = numbers[prefix.parent as usize];
                let parent = &mut kept[prefix.parent as usize];
                prefix.sibling = std::mem::replace(&mut parent.child, number);
            }
            numbers[old] = number;
            kept.push(prefix);
        }
        self.nodes = kept;
        for prefix in prefixes {
            *prefix = numbers[*prefix as usize];
        }
    }
}

fn node(parent: u32, token: u32, memory: Memory) -> Prefix {
    Prefix { parent, token, child: NONE, sibling: NONE, slot: NONE, memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_its_label() {
        let memory = Memory { state: None, place: Place::START, language: 0.0 };
        let mut prefixes = Prefixes::new(memory);
        let a = prefixes.add(0, 1, memory);
        let dropped = prefixes.add(0, 2, memory);
        prefixes.add(dropped, 1, memory);
        let mut ab = prefixes.add(a, 2, memory);
        let mut abc = prefixes.add(ab, 3, memory);
        let mut abd = prefixes.add(ab, 4, memory);
        assert_eq!(prefixes.label(abd), [1, 2, 4]);
        assert_eq!((prefixes.find(ab, 4), prefixes.find(a, 4)), (Some(abd), None));
        assert_eq!((prefixes.common(abc, abd), prefixes.common(dropped, abd)), (ab, 0));

        prefixes.keep(0, [&mut ab, &mut abc, &mut abd]);
        assert_eq!(
            (prefixes.len(), prefixes.label(abc), prefixes.label(ab)),
            (5, vec![1, 2, 3], vec![1, 2])
        );
        assert_eq!(prefixes.find(ab, 3), Some(abc));

        prefixes.keep(ab, [&mut abc, &mut abd]);
        assert_eq!(
            (prefixes.len(), prefixes.label(abc), prefixes.label(abd)),
            (3, vec![3], vec![4])
        );
        assert_eq!((prefixes.find(0, 4), prefixes.get(0).token), (Some(abd), 2));
    }
}
