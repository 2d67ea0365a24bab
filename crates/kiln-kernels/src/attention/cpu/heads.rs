//! Heads of `[batch, tokens, heads, width]`, read, copied out and written where they lie.

use super::{
    super::shape::{Attention, Sizes},
    product::{PANEL, padded},
};
use crate::cpu::values;
use burn_flex::FlexTensor;
use std::{marker::PhantomData, ops::Range};

/// Where the head of a batch and its tokens lie, in a tensor that may hold other heads, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    tokens: usize,
    /// From a token to the next.
    stride: usize,
    first_head: usize,
    width: usize,
}

impl Places {
    /// The heads from `first_head` on of `[.., tokens, all_heads, width]`.
    pub(super) fn new(tokens: usize, all_heads: usize, first_head: usize, width: usize) -> Self {
        Self { tokens, stride: all_heads * width, first_head, width }
    }

    /// Where queries, keys and values lie: in one tensor where they are packed, else in three.
    pub(super) fn of_sources(attention: &Attention, sizes: &Sizes) -> [Self; 3] {
        let Sizes { queries, keys, heads, kv_heads, width, .. } = *sizes;
        match attention.packed {
            Some([heads, kv_heads]) => [0, heads, heads + kv_heads]
                .map(|first| Self::new(queries, heads + 2 * kv_heads, first, width)),
            None => [(queries, heads), (keys, kv_heads), (keys, kv_heads)]
                .map(|(tokens, heads)| Self::new(tokens, heads, 0, width)),
        }
    }

    #[inline(always)]
    fn start(&self, batch: usize, head: usize, token: usize) -> usize {
        (batch * self.tokens + token) * self.stride + (self.first_head + head) * self.width
    }
}

/// Heads to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads<'a> {
    values: &'a [f32],
    places: Places,
}

impl<'a> Heads<'a> {
    pub(super) fn new(values: &'a [f32], places: Places) -> Self {
        Self { values, places }
    }

    /// A token of a head.
    #[inline(always)]
    pub(super) fn row(&self, batch: usize, head: usize, token: usize) -> &'a [f32] {
        let start = self.places.start(batch, head, token);
        &self.values[start..start + self.places.width]
    }
}

/// Values that threads write in places which do not overlap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pointer: *mut f32,
    len: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable slice, whose only access asks the caller for disjoint ranges.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self { pointer: values.as_mut_ptr(), len: values.len(), values: PhantomData }
    }

    /// # Safety
    /// While the slice lives, nobody else holds one that overlaps it.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start + len <= self.len, "a slice reaches past its values");
        // SAFETY: it is within the values, and the caller answers for overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }
}

/// Heads to write, each token of a head by one thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadsMut<'a> {
    values: Shared<'a>,
    places: Places,
}

impl<'a> HeadsMut<'a> {
    pub(super) fn new(values: Shared<'a>, places: Places) -> Self {
        Self { values, places }
    }

    /// The same heads in `part` of as many tensors, one after the other.
    pub(super) fn part(mut self, part: usize, batches: usize) -> Self {
        let Places { tokens, stride, .. } = self.places;
        let len = batches * tokens * stride;
        assert!((part + 1) * len <= self.values.len, "a part reaches past its values");
        // SAFETY: it lies within the values.
        self.values.pointer = unsafe { self.values.pointer.add(part * len) };
        self.values.len = len;
        self
    }

    /// # Safety
    /// While the slice lives, nobody else holds that of this token of this head.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn row(&self, batch: usize, head: usize, token: usize) -> &mut [f32] {
        // SAFETY: rows of different tokens and heads do not overlap; the caller answers for one.
        unsafe { self.values.slice(self.places.start(batch, head, token), self.places.width) }
    }
}

/// The tokens of a head as rows padded with zeros, times `scale`.
pub(super) fn copy(
    out: &mut Vec<f32>,
    heads: &Heads<'_>,
    [batch, head]: [usize; 2],
    tokens: Range<usize>,
    width: usize,
    scale: f32,
) {
    let stride = padded(width);
    let start = out.len();
    out.resize(start + tokens.len() * stride, 0.0);
    for (out, token) in out[start..].chunks_exact_mut(stride).zip(tokens) {
        for (out, value) in out.iter_mut().zip(heads.row(batch, head, token)) {
            *out = value * scale;
        }
    }
}

/// The tokens of a head as the columns of panels.
pub(super) fn transpose(
    out: &mut Vec<f32>,
    heads: &Heads<'_>,
    [batch, head]: [usize; 2],
    tokens: Range<usize>,
    width: usize,
) {
    let start = tokens.start;
    out.clear();
    out.resize(tokens.len().next_multiple_of(PANEL) * width, 0.0);
    for token in tokens {
        let column = token - start;
        let panel = out[column / PANEL * PANEL * width..].chunks_exact_mut(PANEL);
        let column = column % PANEL;
        for (row, value) in panel.zip(heads.row(batch, head, token)) {
            row[column] = *value;
        }
    }
}

/// The queries, keys and values.
pub(super) fn sources<'a>(
    attention: &Attention,
    sizes: &Sizes,
    floats: &'a [FlexTensor],
) -> [Heads<'a>; 3] {
    let places = Places::of_sources(attention, sizes);
    [0, 1, 2].map(|index| {
        let tensor = &floats[if attention.packed.is_some() { 0 } else { index }];
        Heads::new(values(tensor), places[index])
    })
}
