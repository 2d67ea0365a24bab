//! Which keys each query sees, as a range of keys and, where some inside it are hidden, penalties.

use super::super::kernel::{Attention, Sizes};
use std::ops::Range;

/// Blocks are a multiple of this where they are larger: the rows that a product keeps in registers.
const ROWS: usize = 12;

/// Which keys queries see.
#[derive(Debug)]
pub(super) struct Visible {
    queries: usize,
    /// First key and the one after the last, for each batch and query; empty ones are `[0, 0]`.
    ranges: Vec<[usize; 2]>,
    /// For each batch, what is added to the scores of each key: negative infinity where it is
    /// hidden. Empty where no key inside the ranges is.
    penalties: Vec<Vec<f32>>,
    /// Where sequences start and end.
    sequences: Vec<Range<usize>>,
}

impl Visible {
    pub(super) fn new(
        attention: &Attention,
        sizes: &Sizes,
        mask: Option<Vec<i64>>,
        offsets: Option<Vec<i64>>,
    ) -> Self {
        let Sizes { batch, queries, keys, .. } = *sizes;
        let sequences: Vec<Range<usize>> = match &offsets {
            Some(offsets) => {
                let inside = |offset: i64| offset.clamp(0, keys as i64) as usize;
                let bounds = offsets.windows(2).map(|pair| inside(pair[0])..inside(pair[1]));
                bounds.filter(|range| !range.is_empty()).collect()
            }
            None => std::iter::once(0..keys.max(queries)).collect(),
        };
        let mut one = vec![[0, 0]; queries];
        for sequence in &sequences {
            let end = sequence.end.min(keys);
            let first = sequence.start.min(queries);
            for (query, seen) in one.iter_mut().enumerate().take(sequence.end).skip(first) {
                *seen = range(attention, query as isize + sizes.shift(), sequence.start, end);
            }
        }
        let mut ranges = Vec::with_capacity(batch * queries);
        let mut penalties = Vec::with_capacity(batch);
        for batch in 0..batch {
            let hidden = mask.as_ref().map_or(&[][..], |mask| &mask[batch * keys..][..keys]);
            let first = hidden.iter().position(|&hidden| hidden == 0);
            let last = hidden.iter().rposition(|&hidden| hidden == 0);
            let bounds = match (first, last) {
                (Some(first), Some(last)) => [first, last + 1],
                _ if mask.is_some() => [0, 0],
                _ => [0, keys],
            };
            ranges.extend(one.iter().map(|&[start, end]| {
                let (start, end) = (start.max(bounds[0]), end.min(bounds[1]));
                if start < end { [start, end] } else { [0, 0] }
            }));
            let within = hidden.get(bounds[0]..bounds[1]).unwrap_or(&[]);
            let penalty = |&hidden: &i64| if hidden == 0 { 0.0 } else { f32::NEG_INFINITY };
            penalties.push(if within.iter().any(|&hidden| hidden != 0) {
                hidden.iter().map(penalty).collect()
            } else {
                Vec::new()
            });
        }
        Self { queries, ranges, penalties, sequences }
    }

    /// What each query of a batch sees.
    pub(super) fn ranges(&self, batch: usize, queries: &Range<usize>) -> &[[usize; 2]] {
        &self.ranges[batch * self.queries..][queries.clone()]
    }

    /// What some queries of a batch see between them.
    pub(super) fn range(&self, batch: usize, queries: &Range<usize>) -> Range<usize> {
        let seeing = self.ranges(batch, queries).iter().filter(|range| range[0] < range[1]);
        let (start, end) = seeing
            .fold((usize::MAX, 0), |(start, end), range| (start.min(range[0]), end.max(range[1])));
        if start < end { start..end } else { 0..0 }
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

/// What a query at `position` sees of the keys `start..end`.
fn range(attention: &Attention, position: isize, start: usize, end: usize) -> [usize; 2] {
    let (mut first, mut last) = (start as isize, end as isize);
    if attention.causal {
        last = last.min(position + 1);
    }
    if let Some(window) = attention.window.and_then(|window| isize::try_from(window).ok()) {
        first = first.max(position.saturating_sub(window).saturating_add(1));
        last = last.min(position.saturating_add(window));
    }
    if first < last { [first as usize, last as usize] } else { [0, 0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention() -> Attention {
        Attention {
            packed: None,
            causal: false,
            window: None,
            scale: 1.0,
            mask_pad: false,
            offsets: false,
            bias: false,
            alibi: None,
            dropout: None,
        }
    }

    fn sizes(queries: usize, keys: usize) -> Sizes {
        Sizes { batch: 1, queries, keys, heads: 1, kv_heads: 1, width: 1 }
    }

    #[test]
    fn the_last_queries_see_their_past() {
        let causal = Attention { causal: true, window: Some(3), ..attention() };
        let visible = Visible::new(&causal, &sizes(2, 5), None, None);
        assert_eq!(visible.ranges(0, &(0..2)), [[1, 4], [2, 5]]);
        // More queries than keys: the first lie before every key.
        let visible = Visible::new(&causal, &sizes(4, 2), None, None);
        assert_eq!(visible.ranges(0, &(0..4)), [[0, 0], [0, 0], [0, 1], [0, 2]]);
    }

    #[test]
    fn padding_at_an_end_shortens_ranges() {
        let visible = Visible::new(&attention(), &sizes(1, 4), Some(vec![0, 0, 0, 1]), None);
        assert_eq!((visible.range(0, &(0..1)), visible.penalties(0).len()), (0..3, 0));
        let visible = Visible::new(&attention(), &sizes(1, 4), Some(vec![1, 0, 1, 0]), None);
        assert_eq!((visible.range(0, &(0..1)), visible.penalties(0).len()), (1..4, 4));
    }

    #[test]
    fn blocks_end_with_sequences() {
        let visible = Visible::new(&attention(), &sizes(9, 9), None, Some(vec![0, 5, 5, 8]));
        assert_eq!(visible.blocks(9, 4), [0..4, 4..5, 5..8]);
        assert_eq!((visible.sequence(4), visible.sequence(5)), (0..5, 5..8));
        assert_eq!(visible.ranges(0, &(4..9)), [[0, 5], [5, 8], [5, 8], [5, 8], [0, 0]]);
    }
}
