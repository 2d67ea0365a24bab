//! A trie of words by their letters: the lexicon of a decoder, or the words of a language model.

use kiln_metrics::ngram::WordId;
use unicode_normalization::UnicodeNormalization as _;

/// A node of a [`WordTrie`]: the letters of a word so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// Between words.
    pub(super) const START: Self = Self(0);
    /// In a word that the trie does not have.
    pub(super) const LOST: Self = Self(u32::MAX);
}

/// A trie of words.
#[derive(Clone, Debug)]
pub(super) struct WordTrie {
    nodes: Vec<Node>,
    /// By node, then by letter.
    edges: Vec<(char, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    first: u32,
    word: Option<WordId>,
}

impl WordTrie {
    /// Words in any Unicode form; those that occur twice keep their first id.
    pub(super) fn new<'a>(words: impl IntoIterator<Item = (&'a str, WordId)>) -> Self {
        let letters = |(word, id): (&str, WordId)| (word.nfc().collect::<Vec<char>>(), id);
        let mut words: Vec<(Vec<char>, WordId)> = words.into_iter().map(letters).collect();
        words.sort_by(|(a, _), (b, _)| a.cmp(b));
        words.dedup_by(|later, first| later.0 == first.0);
        // For every node the words that go through it, and how many letters were read.
        let mut spans = vec![(0, words.len(), 0)];
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some((mut low, high, depth)) = spans.get(at).copied() {
            let here = words[low..high].first().filter(|(word, _)| word.len() == depth);
            let word = here.map(|(_, id)| *id);
            low += usize::from(word.is_some());
            nodes.push(Node { first: edges.len() as u32, word });
            while low < high {
                let letter = words[low].0[depth];
                let same = words[low..high].partition_point(|(word, _)| word[depth] <= letter);
                edges.push((letter, spans.len() as u32));
                spans.push((low, low + same, depth + 1));
                low += same;
            }
            at += 1;
        }
        Self { nodes, edges }
    }

    /// Where some more letters lead.
    pub(super) fn walk(&self, place: Place, letters: &[char]) -> Place {
        let mut node = place;
        for letter in letters {
            if node == Place::LOST {
                break;
            }
            let first = self.nodes[node.0 as usize].first as usize;
            let next = self.nodes.get(node.0 as usize + 1);
            let last = next.map_or(self.edges.len(), |next| next.first as usize);
            let edges = &self.edges[first..last];
            node = match edges.binary_search_by_key(letter, |(letter, _)| *letter) {
                Ok(at) => Place(edges[at].1),
                Err(_) => Place::LOST,
            };
        }
        node
    }

    /// The word that ends here.
    pub(super) fn word(&self, place: Place) -> Option<WordId> {
        self.nodes.get(place.0 as usize).and_then(|node| node.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_starts() {
        let model = kiln_metrics::ngram::KneserNey::default().train(["to tea ten"]).unwrap().model;
        let words = ["tea", "to", "ten", "te\u{302}", "to"];
        let trie = WordTrie::new(words.map(|word| (word, model.id(word))));
        let walk = |text: &str| trie.walk(Place::START, &text.chars().collect::<Vec<_>>());
        assert_eq!(trie.word(walk("tea")), Some(model.id("tea")));
        assert_eq!(trie.word(walk("tê")), Some(WordId::UNKNOWN));
        assert_eq!((trie.word(walk("te")), trie.word(walk(""))), (None, None));
        assert_ne!(walk("te"), Place::LOST);
        assert_eq!((walk("tex"), walk("x"), walk("toto")), (Place::LOST, Place::LOST, Place::LOST));
        assert_eq!(trie.word(Place::LOST), None);
        assert_eq!(WordTrie::new([]).walk(Place::START, &['a']), Place::LOST);
    }
}
