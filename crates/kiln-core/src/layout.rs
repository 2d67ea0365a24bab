//! Batches on the host: their layout in tokens.

use std::ops::Range;

/// A batch on the host, as the threads that read ahead have it: what an objective draws masks, spans
/// and permutations for, before the step that uploads it.
pub trait HostBatch {
    /// Its layout in tokens.
    fn layout(&self) -> Layout;

    /// The token ids of each sequence, without padding; empty where tokens are no ids.
    fn token_ids(&self) -> Vec<Vec<u32>> {
        Vec::new()
    }

    /// Sentinel tokens, in the order of their use (T5, <https://arxiv.org/abs/1910.10683>); empty
    /// where the vocabulary has none.
    fn sentinels(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The layouts of the first and the second half of each sequence; `None` where none is long
    /// enough.
    fn split_half(&self) -> Option<[Layout; 2]> {
        None
    }
}

/// The layout of a batch: its shape in tokens and what is known of each, on the host, before
/// anything is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Sequences in the batch.
    pub batch: usize,
    /// Tokens that carry targets, a sequence; class tokens and prefixes are not among them.
    pub tokens: usize,
    /// How many consecutive sequences belong to one item.
    pub channels: usize,
    /// Tokens of each sequence that are no padding, which follows them; `None` when none is.
    pub lengths: Option<Vec<usize>>,
    /// Special-tokens mask, `[batch, tokens]` in row-major order: true for tokens that are never
    /// masked, such as separators or a class token among the others. `None` when there are none.
    pub special_tokens_mask: Option<Vec<bool>>,
    /// Word starts, `[batch, tokens]` in row-major order: true where a token begins a word, for
    /// whole-word masking. `None` when each token is a word.
    pub word_starts: Option<Vec<bool>>,
    /// Where documents begin, counted through the batch's tokens, rising: several in a sequence.
    /// `None` when each sequence is one.
    pub documents: Option<Vec<usize>>,
    /// Loss mask, `[batch, tokens]` in row-major order: false where a token is context only, such as
    /// a prompt. `None` when all are predicted.
    pub loss_mask: Option<Vec<bool>>,
    /// Spans of each sequence that are words of a lexicon. `None` without a lexicon.
    pub lexicon_spans: Option<Vec<Vec<Range<usize>>>>,
    /// Group size: how many consecutive sequences belong together, such as a query and its answer, or
    /// an anchor, its positive and its negatives, or a query's candidates, the relevant one first.
    /// 1 where each stands for itself.
    pub group_size: usize,
}

impl<T: HostBatch> HostBatch for &T {
    fn layout(&self) -> Layout {
        T::layout(self)
    }

    fn token_ids(&self) -> Vec<Vec<u32>> {
        T::token_ids(self)
    }

    fn sentinels(&self) -> Vec<u32> {
        T::sentinels(self)
    }

    fn split_half(&self) -> Option<[Layout; 2]> {
        T::split_half(self)
    }
}

impl HostBatch for Layout {
    fn layout(&self) -> Layout {
        self.clone()
    }
}

impl Layout {
    /// Sequences of equal length, one an item.
    pub fn new(batch: usize, tokens: usize) -> Self {
        Self {
            batch,
            tokens,
            channels: 1,
            lengths: None,
            special_tokens_mask: None,
            word_starts: None,
            documents: None,
            loss_mask: None,
            lexicon_spans: None,
            group_size: 1,
        }
    }

    /// The stretches of a sequence that are of one document each, without padding.
    pub fn segments(&self, sequence: usize) -> Vec<Range<usize>> {
        let (first, length) = (sequence * self.tokens, self.length(sequence));
        let inside = self.documents.iter().flatten().filter_map(|start| start.checked_sub(first));
        let inside = inside.filter(|start| (1..length).contains(start));
        let begins: Vec<usize> = std::iter::once(0).chain(inside).collect();
        let ends = begins.iter().copied().skip(1).chain([length]);
        let segments = begins.iter().copied().zip(ends).map(|(begin, end)| begin..end);
        segments.filter(|segment| !segment.is_empty()).collect()
    }

    /// The units of a sequence that may be masked, each as a whole: words where `whole_words` and the
    /// batch knows them, otherwise single tokens. None is of two documents.
    pub fn units(&self, sequence: usize, whole_words: bool) -> Vec<Range<usize>> {
        let first = sequence * self.tokens;
        let flag = |flags: &Option<Vec<bool>>, at: usize| {
            flags.as_ref().and_then(|flags| flags.get(first + at)).copied()
        };
        let mut units: Vec<Range<usize>> = Vec::new();
        for segment in self.segments(sequence) {
            for at in segment.clone() {
                if flag(&self.special_tokens_mask, at) == Some(true) {
                    continue;
                }
                let begins = !whole_words
                    || at == segment.start
                    || flag(&self.word_starts, at) != Some(false);
                match units.last_mut() {
                    Some(unit) if !begins && unit.end == at => unit.end += 1,
                    _ => units.push(at..at + 1),
                }
            }
        }
        units
    }

    /// The lexicon spans of a sequence that hold neither special tokens nor padding.
    pub fn lexicon_spans(&self, sequence: usize) -> Vec<Range<usize>> {
        let spans = self.lexicon_spans.as_ref().and_then(|spans| spans.get(sequence));
        let (first, length) = (sequence * self.tokens, self.length(sequence));
        let mask = self.special_tokens_mask.as_ref();
        let special = |at: usize| mask.is_some_and(|mask| mask.get(first + at) == Some(&true));
        let free = |span: &&Range<usize>| span.end <= length && !Range::clone(span).any(special);
        spans.into_iter().flatten().filter(free).cloned().collect()
    }

    /// Tokens of the batch that are no padding.
    pub fn visible_tokens(&self) -> usize {
        (0..self.batch).map(|sequence| self.length(sequence)).sum()
    }

    /// Tokens of a sequence that are no padding.
    pub fn length(&self, sequence: usize) -> usize {
        let lengths = self.lengths.as_ref();
        lengths
            .and_then(|lengths| lengths.get(sequence))
            .map_or(self.tokens, |length| *length.min(&self.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_in_a_row_are_segments_of_their_own() {
        let layout = Layout {
            lengths: Some(vec![5, 3, 0]),
            documents: Some(vec![0, 2, 3, 5, 8, 10, 15]),
            word_starts: Some(vec![false; 15]),
            ..Layout::new(3, 5)
        };
        assert_eq!(layout.segments(0), [0..2, 2..3, 3..5]);
        // What begins in the padding is none.
        assert_eq!(layout.segments(1), std::slice::from_ref(&(0..3)));
        assert!(layout.segments(2).is_empty());
        // A word ends where its document does.
        assert_eq!(layout.units(0, true), [0..2, 2..3, 3..5]);
        assert_eq!(Layout::new(1, 4).segments(0), std::slice::from_ref(&(0..4)));
    }
}
