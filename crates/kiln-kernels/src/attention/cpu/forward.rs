//! The forward step: blocks of queries are independent.

use super::{
    super::shape::{Attention, Sizes},
    heads::{Heads, HeadsMut, Shared, bias_start, copy, sources, transpose},
    product::{LANE, Left, PANEL, Right, padded, product},
    tile::{GRAIN, KEY_BLOCK, QUERY_BLOCK, Tile, online_softmax},
    visible::Visible,
};
use crate::{
    Tensors,
    cpu::{contiguous, integers, tensor, values, zeros},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

pub(in super::super) fn forward(attention: &Attention, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (shapes, _) = inputs.shapes();
    let sizes = attention.sizes(&shapes);
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let ints = attention.split_ints(inputs.ints.into_iter().map(integers));
    let visible = Visible::new(attention, &sizes, ints);
    let Sizes { batch, queries, heads, width, .. } = sizes;
    let bias = floats.get(attention.sources()).map_or(&[][..], values::<f32>);
    let bias_heads = shapes.get(attention.sources()).map_or([1, 1], |shape| [shape[0], shape[1]]);

    let mut out = zeros(batch * queries * heads * width);
    let mut logsumexp = zeros(batch * heads * queries);
    let shared = Shared::new(&mut out);
    let work = Work {
        attention,
        sizes,
        sources: sources(attention, &sizes, &floats),
        bias,
        bias_heads,
        visible: &visible,
        out: HeadsMut::new(shared, queries, heads, 0, width),
        logsumexp: Shared::new(&mut logsumexp),
    };
    let blocks = visible.blocks(queries, QUERY_BLOCK);
    // A task is a head, or some blocks of it where there are few.
    let chunks = (4 * rayon::current_num_threads()).div_ceil((batch * heads).max(1));
    let each = blocks.len().div_ceil(chunks).max(1);
    let chunks: Vec<&[Range<usize>]> = blocks.chunks(each).collect();
    let tasks = batch * heads * chunks.len();
    let run = |scratch: &mut Scratch, task: usize| {
        let (head, chunk) = (task / chunks.len(), task % chunks.len());
        work.blocks([head / heads, head % heads], chunks[chunk], scratch);
    };
    let cost = 2 * batch * heads * queries * sizes.keys * width;
    let together = GRAIN.div_ceil((cost / tasks.max(1)).max(1));
    if tasks <= together {
        let mut scratch = Scratch::default();
        (0..tasks).for_each(|task| run(&mut scratch, task));
    } else {
        (0..tasks).into_par_iter().with_min_len(together).for_each_init(Scratch::default, run);
    }
    vec![tensor(out, [batch, queries, heads, width]), tensor(logsumexp, [batch, heads, queries])]
}

/// What all tasks share.
struct Work<'a> {
    attention: &'a Attention,
    sizes: Sizes,
    sources: [Heads<'a>; 3],
    bias: &'a [f32],
    bias_heads: [usize; 2],
    visible: &'a Visible,
    out: HeadsMut<'a>,
    logsumexp: Shared<'a>,
}

/// What a task needs for itself.
#[derive(Debug, Default)]
struct Scratch {
    /// The keys of the task, transposed, and its values.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// A block's queries, scores, sums of values, and what each row's are relative to.
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    largest: Vec<f32>,
    totals: Vec<f32>,
}

impl Work<'_> {
    /// Some blocks of the queries of a head.
    fn blocks(&self, at: [usize; 2], blocks: &[Range<usize>], scratch: &mut Scratch) {
        let width = self.sizes.width;
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return };
        let seen = self.visible.range(at[0], &(first.start..last.end));
        let kv_at = [at[0], at[1] / self.sizes.group()];
        transpose(&mut scratch.keys, &self.sources[1], kv_at, seen.clone(), width);
        scratch.values.clear();
        copy(&mut scratch.values, &self.sources[2], kv_at, seen.clone(), width, 1.0);
        for block in blocks {
            self.block(at, block, &seen, scratch);
        }
    }

    /// A block of queries, against the keys it attends to of those that the task has.
    fn block(
        &self,
        [batch, head]: [usize; 2],
        queries: &Range<usize>,
        task_keys: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Sizes { width, heads, keys: all_keys, .. } = self.sizes;
        let (rows, value_stride) = (queries.len(), padded(width));
        let Scratch { keys: keys_t, values, queries: block, scores, sums, largest, totals } =
            scratch;
        for (buffer, len, value) in [
            (&mut *sums, rows * value_stride, 0.0),
            (&mut *largest, rows, f32::NEG_INFINITY),
            (&mut *totals, rows, 0.0),
        ] {
            buffer.clear();
            buffer.resize(len, value);
        }
        block.clear();
        let scale = self.attention.scale as f32;
        copy(block, &self.sources[0], [batch, head], queries.clone(), width, scale);
        let bias = bias_start(&self.sizes, self.bias_heads, batch, head) + queries.start * all_keys;
        let first_row = (batch * heads + head) * self.sizes.queries + queries.start;
        let seen = self.visible.range(batch, queries);
        // Tiles start where panels do.
        let start = (seen.start.max(task_keys.start) - task_keys.start) / PANEL * PANEL;
        let end = seen.end.max(task_keys.start) - task_keys.start;
        for first in (start..end).step_by(KEY_BLOCK) {
            let keys = (end - first).min(KEY_BLOCK);
            let first_key = task_keys.start + first;
            if !self.visible.any(batch, queries, &(first_key..first_key + keys)) {
                continue;
            }
            let stride = keys.next_multiple_of(LANE);
            let tile = Tile {
                ranges: self.visible.ranges(batch, queries),
                gaps: self.visible.gaps(batch, queries),
                first_key,
                keys,
                stride,
                position: queries.start as isize + self.sizes.shift(),
                bias: self.bias.get(bias..).unwrap_or(&[]),
                bias_stride: all_keys,
                penalties: self.visible.penalties(batch),
                slope: self.attention.alibi.as_ref().map_or(0.0, |slopes| slopes[head]),
                dropout: self.attention.dropout,
                first_row: first_row as u32,
            };
            scores.resize(rows * stride, 0.0);
            let left = Left::rows(block, value_stride);
            let right = Right::panels(&keys_t[first * width..], width);
            product(scores, stride, false, left, right, [rows, width, stride]);
            online_softmax(&tile, scores, largest, totals, sums);
            let left = Left::rows(scores, stride);
            let right = Right::rows(&values[first * value_stride..], value_stride);
            product(sums, value_stride, true, left, right, [rows, keys, value_stride]);
        }
        // SAFETY: each block of queries of a head is one task's.
        let logsumexp = unsafe { self.logsumexp.slice(first_row, rows) };
        for (row, query) in queries.clone().enumerate() {
            if totals[row] == 0.0 {
                // It attends to nothing; both outputs are zero already.
                continue;
            }
            // SAFETY: as above.
            let out = unsafe { self.out.row(batch, head, query) };
            let share = 1.0 / totals[row];
            for (out, sum) in out.iter_mut().zip(&sums[row * value_stride..]) {
                *out = sum * share;
            }
            logsumexp[row] = largest[row] + totals[row].ln();
        }
    }
}
