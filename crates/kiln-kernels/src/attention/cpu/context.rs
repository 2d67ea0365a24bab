//! What the tasks of both steps read, and how they are run.

use super::{
    super::shape::{Attention, Sizes},
    product::LANE,
    tile::{GRAIN, Tile},
    visible::Visible,
};
use crate::cpu::values;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::ops::Range;

/// Settings, sizes, masks and the bias.
pub(super) struct Context<'a> {
    pub(super) attention: &'a Attention,
    pub(super) sizes: Sizes,
    pub(super) visible: &'a Visible,
    /// `[batch or 1, heads or 1, queries, keys]`; empty if there is none.
    pub(super) bias: &'a [f32],
    pub(super) bias_heads: [usize; 2],
}

impl<'a> Context<'a> {
    pub(super) fn new(
        attention: &'a Attention,
        sizes: Sizes,
        floats: &'a [FlexTensor],
        visible: &'a Visible,
    ) -> Self {
        let bias = floats.get(attention.sources()).filter(|_| attention.bias);
        let bias_heads = bias.map_or([1, 1], |bias| {
            let shape = bias.layout().shape();
            [shape[0], shape[1]]
        });
        Self { attention, sizes, visible, bias: bias.map_or(&[][..], values::<f32>), bias_heads }
    }

    /// Where the part of the bias starts that a head of a batch has, from a query on.
    pub(super) fn bias_start(&self, [batch, head]: [usize; 2], query: usize) -> usize {
        let [batches, heads] = self.bias_heads;
        let batch = if batches == 1 { 0 } else { batch };
        let head = if heads == 1 { 0 } else { head };
        ((batch * heads + head) * self.sizes.queries + query) * self.sizes.keys
    }

    /// Some queries of a head against `keys` keys from `first_key` on.
    pub(super) fn tile(
        &self,
        [batch, head]: [usize; 2],
        queries: &Range<usize>,
        first_key: usize,
        keys: usize,
    ) -> Tile<'_> {
        let first_row = (batch * self.sizes.heads + head) * self.sizes.queries + queries.start;
        Tile {
            ranges: self.visible.ranges(batch, queries),
            gaps: self.visible.gaps(batch, queries),
            first_key,
            keys,
            stride: keys.next_multiple_of(LANE),
            position: queries.start as isize + self.sizes.shift(),
            bias: self.bias.get(self.bias_start([batch, head], queries.start)..).unwrap_or(&[]),
            bias_stride: self.sizes.keys,
            penalties: self.visible.penalties(batch),
            slope: self.attention.alibi.as_ref().map_or(0.0, |slopes| slopes[head]),
            dropout: self.attention.dropout,
            first_row: first_row as u32,
        }
    }
}

/// Runs tasks, in parallel where they are worth it: `cost` is the multiplications of all of them.
pub(super) fn run_tasks<S: Default>(
    tasks: usize,
    cost: usize,
    run: impl Fn(&mut S, usize) + Sync + Send,
) {
    let together = GRAIN.div_ceil((cost / tasks.max(1)).max(1));
    if tasks <= together {
        let mut scratch = S::default();
        (0..tasks).for_each(|task| run(&mut scratch, task));
    } else {
        (0..tasks).into_par_iter().with_min_len(together).for_each_init(S::default, run);
    }
}
