//! The forward step: blocks of queries are independent.

use super::{
    super::shape::{Attention, Sizes},
    context::{Context, run_tasks},
    heads::{Heads, HeadsMut, Places, Shared, copy, sources, transpose},
    product::{Left, PANEL, Right, padded, product},
    tile::{KEY_BLOCK, QUERY_BLOCK, online_softmax},
    visible::Visible,
};
use crate::{
    Tensors,
    cpu::{contiguous, integers, tensor, zeros},
};
use burn_flex::{Flex, FlexTensor};
use std::ops::Range;

pub(in super::super) fn forward(attention: &Attention, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let (shapes, _) = inputs.shapes();
    let sizes = attention.sizes(&shapes);
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let ints = attention.split_ints(inputs.ints.into_iter().map(integers));
    let visible = Visible::new(attention, &sizes, ints);
    let Sizes { batch, queries, heads, width, .. } = sizes;

    let mut out = zeros(batch * queries * heads * width);
    let mut logsumexp = zeros(batch * heads * queries);
    let shared = Shared::new(&mut out);
    let work = Work {
        context: Context::new(attention, sizes, &floats, &visible),
        sources: sources(attention, &sizes, &floats),
        out: HeadsMut::new(shared, Places::new(queries, heads, 0, width)),
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
    run_tasks(tasks, cost, run);
    vec![tensor(out, [batch, queries, heads, width]), tensor(logsumexp, [batch, heads, queries])]
}

/// What all tasks share.
struct Work<'a> {
    context: Context<'a>,
    sources: [Heads<'a>; 3],
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
        let width = self.context.sizes.width;
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return };
        let seen = self.context.visible.range(at[0], &(first.start..last.end));
        let kv_at = [at[0], at[1] / self.context.sizes.group()];
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
        let Sizes { width, heads, .. } = self.context.sizes;
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
        let scale = self.context.attention.scale as f32;
        copy(block, &self.sources[0], [batch, head], queries.clone(), width, scale);
        let first_row = (batch * heads + head) * self.context.sizes.queries + queries.start;
        let seen = self.context.visible.range(batch, queries);
        // Tiles start where panels do.
        let start = (seen.start.max(task_keys.start) - task_keys.start) / PANEL * PANEL;
        let end = seen.end.max(task_keys.start) - task_keys.start;
        for first in (start..end).step_by(KEY_BLOCK) {
            let keys = (end - first).min(KEY_BLOCK);
            let first_key = task_keys.start + first;
            if !self.context.visible.any(batch, queries, &(first_key..first_key + keys)) {
                continue;
            }
            let tile = self.context.tile([batch, head], queries, first_key, keys);
            let stride = tile.stride;
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
