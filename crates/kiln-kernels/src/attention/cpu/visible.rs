//! Which keys each query attends to: a range of keys, a gap in it, and penalties for padding.

use super::super::{
    shape::{Attention, Ints, Sizes},
    visibility::AttentionPattern,
};
use std::ops::Range;

/// Blocks are a multiple of this where they are larger: the rows that a product keeps in registers.
const ROWS: usize = 12;

/// Which keys queries attend to.
#[derive(Debug)]
pub(super) struct Visible {
    queries: usize,
    /// First key and the one after the last, for each batch and query; empty ones are `[0, 0]`.
    ranges: Vec<[usize; 2]>,
    /// Keys inside the ranges that the pattern masks, as the ranges. Empty where there are none.
    gaps: Vec<[usize; 2]>,
    /// For each batch, what is added to the scores of each key: negative infinity where it is
    /// padding. Empty where no key inside the ranges is.
    penalties: Vec<Vec<f32>>,
    /// Where sequences start and end.
    sequences: Vec<Range<usize>>,
}

impl Visible {
    pub(super) fn new(attention: &Attention, sizes: &Sizes, ints: Ints<Vec<i64>>) -> Self {
        let Sizes { batch, queries, keys, .. } = *sizes;
        let Ints { mask_pad, documents, lengths } = ints;
        // With the number of each, which its length has.
        let mut sequences = vec![(0, 0..keys.max(queries))];
        if let Some(offsets) = &documents {
            let inside = |offset: i64| offset.clamp(0, keys as i64) as usize;
            let bounds = offsets.windows(2).map(|pair| inside(pair[0])..inside(pair[1]));
            sequences = bounds.enumerate().filter(|(_, range)| !range.is_empty()).collect();
        }
        let mut ranges = Vec::with_capacity(batch * queries);
        let mut gaps = Vec::new();
        let mut penalties = Vec::with_capacity(batch);
        for batch in 0..batch {
            let padding = mask_pad.as_ref().map_or(&[][..], |mask| &mask[batch * keys..][..keys]);
            let first = padding.iter().position(|&padding| padding == 0);
            let last = padding.iter().rposition(|&padding| padding == 0);
            let bounds = match (first, last) {
                (Some(first), Some(last)) => first..last + 1,
                _ if mask_pad.is_some() => 0..0,
                _ => 0..keys,
            };
            let start = ranges.len();
            ranges.resize(start + queries, [0, 0]);
            if attention.pattern == AttentionPattern::Context(()) {
                gaps.resize(start + queries, [0, 0]);
            }
            for (number, sequence) in &sequences {
                let number = if documents.is_some() { *number } else { batch };
                let length = lengths.as_ref().map_or(0, |lengths| lengths[number]);
                let length = length.clamp(0, keys as i64) as usize;
                let end = sequence.end.min(keys);
                for query in sequence.start.min(queries)..sequence.end.min(queries) {
                    let position = query as isize + sizes.shift();
                    let context = (sequence.start + length).min(end);
                    let all = range(attention, position, sequence.start..end, context, &bounds);
                    ranges[start + query] = all;
                    if let Some(gap) = gaps.get_mut(start + query) {
                        let own = position.max(0) as usize;
                        *gap = [context.clamp(all[0], all[1]), own.clamp(all[0], all[1])];
                        gap[1] = gap[1].max(gap[0]);
                    }
                }
            }
            let within = padding.get(bounds).unwrap_or(&[]);
            let penalty = |&padding: &i64| if padding == 0 { 0.0 } else { f32::NEG_INFINITY };
            penalties.push(if within.iter().any(|&padding| padding != 0) {
                padding.iter().map(penalty).collect()
            } else {
                Vec::new()
            });
        }
        let sequences = sequences.into_iter().map(|(_, sequence)| sequence).collect();
        Self { queries, ranges, gaps, penalties, sequences }
    }

    /// The keys between which each query of a batch attends.
    pub(super) fn ranges(&self, batch: usize, queries: &Range<usize>) -> &[[usize; 2]] {
        &self.ranges[batch * self.queries..][queries.clone()]
    }

    /// The keys between which some queries of a batch attend.
    pub(super) fn range(&self, batch: usize, queries: &Range<usize>) -> Range<usize> {
        let seeing = self.ranges(batch, queries).iter().filter(|range| range[0] < range[1]);
        let (start, end) = seeing
            .fold((usize::MAX, 0), |(start, end), range| (start.min(range[0]), end.max(range[1])));
        if start < end { start..end } else { 0..0 }
    }

    /// Keys inside the ranges that each query of a batch does not attend to; may be empty.
    pub(super) fn gaps(&self, batch: usize, queries: &Range<usize>) -> &[[usize; 2]] {
        self.gaps
            .get(batch * self.queries..)
            .map_or(&[], |gaps| gaps.get(queries.clone()).unwrap_or(&[]))
    }

    /// Whether some query of a batch attends to some of the keys.
    pub(super) fn any(&self, batch: usize, queries: &Range<usize>, keys: &Range<usize>) -> bool {
        let gaps = self.gaps(batch, queries);
        gaps.is_empty()
            || gaps.iter().zip(self.ranges(batch, queries)).any(|(gap, range)| {
                let overlap = |start: usize, end: usize| start.max(keys.start) < end.min(keys.end);
                overlap(range[0], gap[0]) || overlap(gap[1], range[1])
            })
    }

    pub(super) fn penalties(&self, batch: usize) -> &[f32] {
        &self.penalties[batch]
    }

    /// The sequence that a token lies in.
    pub(super) fn sequence(&self, token: usize) -> Range<usize> {
        let index = self.sequences.partition_point(|sequence| sequence.end <= token);
        self.sequences.get(index).cloned().unwrap_or(0..0)
    }

    /// The first `count` tokens in blocks of at most `size` that lie within a sequence.
    pub(super) fn blocks(&self, count: usize, size: usize) -> Vec<Range<usize>> {
        let sequences =
            self.sequences.iter().map(|sequence| sequence.start..sequence.end.min(count));
        sequences
            .flat_map(|sequence| {
                // Blocks of about one size, if they are large: no small rest at the end.
                let blocks = sequence.len().div_ceil(size).max(1);
                let each = sequence.len().div_ceil(blocks).next_multiple_of(ROWS).min(size);
                let end = sequence.end;
                sequence.step_by(each).map(move |start| start..(start + each).min(end))
            })
            .collect()
    }
}

/// The keys of a sequence between which a query at `position` attends, where prefix or context end
/// at `context`.
fn range(
    attention: &Attention,
    position: isize,
    sequence: Range<usize>,
    context: usize,
    bounds: &Range<usize>,
) -> [usize; 2] {
    let (mut first, mut last) = (sequence.start as isize, sequence.end as isize);
    if attention.pattern != AttentionPattern::Bidirectional {
        last = last.min((position + 1).max(context as isize));
    }
    if let Some(window) = attention.window.and_then(|window| isize::try_from(window).ok()) {
        first = first.max(position.saturating_sub(window).saturating_add(1));
        last = last.min(position.saturating_add(window));
    }
    let (first, last) = (first.max(bounds.start as isize), last.min(bounds.end as isize));
    if first < last { [first as usize, last as usize] } else { [0, 0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention() -> Attention {
        Attention {
            packed: None,
            pattern: AttentionPattern::Bidirectional,
            window: None,
            scale: 1.0,
            mask_pad: false,
            documents: false,
            bias: false,
            alibi: None,
            dropout: None,
        }
    }

    const NONE: Ints<Vec<i64>> = Ints { mask_pad: None, documents: None, lengths: None };

    fn sizes(queries: usize, keys: usize) -> Sizes {
        Sizes { batch: 1, queries, keys, heads: 1, kv_heads: 1, width: 1 }
    }

    #[test]
    fn the_last_queries_see_their_past() {
        let causal =
            Attention { pattern: AttentionPattern::Causal, window: Some(3), ..attention() };
        let visible = Visible::new(&causal, &sizes(2, 5), NONE);
        assert_eq!(visible.ranges(0, &(0..2)), [[1, 4], [2, 5]]);
        // More queries than keys: the first lie before every key.
        let visible = Visible::new(&causal, &sizes(4, 2), NONE);
        assert_eq!(visible.ranges(0, &(0..4)), [[0, 0], [0, 0], [0, 1], [0, 2]]);
    }

    #[test]
    fn padding_at_an_end_shortens_ranges() {
        let pad = |mask: [i64; 4]| Ints { mask_pad: Some(mask.to_vec()), ..NONE };
        let visible = Visible::new(&attention(), &sizes(1, 4), pad([0, 0, 0, 1]));
        assert_eq!((visible.range(0, &(0..1)), visible.penalties(0).len()), (0..3, 0));
        let visible = Visible::new(&attention(), &sizes(1, 4), pad([1, 0, 1, 0]));
        assert_eq!((visible.range(0, &(0..1)), visible.penalties(0).len()), (1..4, 4));
    }

    #[test]
    fn blocks_end_with_sequences() {
        let ints = Ints { documents: Some(vec![0, 5, 5, 8]), ..NONE };
        let visible = Visible::new(&attention(), &sizes(9, 9), ints);
        assert_eq!(visible.blocks(9, 4), [0..4, 4..5, 5..8]);
        assert_eq!((visible.sequence(4), visible.sequence(5)), (0..5, 5..8));
        assert_eq!(visible.ranges(0, &(4..9)), [[0, 5], [5, 8], [5, 8], [5, 8], [0, 0]]);
    }
    #[test]
    fn prefixes_and_contexts_are_of_their_sequence() {
        let lengths = |lengths: &[i64]| Ints { lengths: Some(lengths.to_vec()), ..NONE };
        let prefix = Attention { pattern: AttentionPattern::Prefix(()), ..attention() };
        let visible = Visible::new(&prefix, &sizes(4, 4), lengths(&[2]));
        assert_eq!(visible.ranges(0, &(0..4)), [[0, 2], [0, 2], [0, 3], [0, 4]]);
        let context = Attention { pattern: AttentionPattern::Context(()), ..attention() };
        let visible = Visible::new(&context, &sizes(4, 4), lengths(&[2]));
        assert_eq!(visible.ranges(0, &(0..4)), [[0, 2], [0, 2], [0, 3], [0, 4]]);
        assert_eq!(visible.gaps(0, &(0..4))[2..], [[2, 2], [2, 3]]);
        assert!(visible.any(0, &(3..4), &(3..4)) && !visible.any(0, &(3..4), &(2..3)));
        let ints = Ints { documents: Some(vec![0, 1, 1, 4]), ..lengths(&[9, 9, 1]) };
        let visible = Visible::new(&context, &sizes(4, 4), ints);
        assert_eq!(visible.ranges(0, &(0..4)), [[0, 1], [1, 2], [1, 3], [1, 4]]);
        assert_eq!(visible.gaps(0, &(0..4))[2..], [[2, 2], [2, 3]]);
    }
}
