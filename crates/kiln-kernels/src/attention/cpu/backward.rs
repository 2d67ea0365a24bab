//! The backward step: heads of keys are independent, and so are blocks of keys but for the
//! gradients of the queries, of which each task makes a part where there are fewer heads than
//! threads.

use super::{
    super::shape::{AttentionBackward, Sizes},
    context::{Context, run_tasks},
    heads::{Heads, HeadsMut, Places, Shared, copy, sources, transpose},
    product::{LANE, Left, PANEL, Right, padded, product},
    tile::{GRAIN, KEY_BLOCK, QUERY_BLOCK, differentiate, dot},
    visible::Visible,
};
use crate::{
    Tensors,
    cpu::{Buffer, chunks, contiguous, integers, tensor, values, zeros},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

pub(in super::super) fn backward(
    step: &AttentionBackward,
    inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let attention = &step.attention;
    let (shapes, _) = inputs.shapes();
    let sizes = attention.sizes(&shapes);
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let ints = attention.split_ints(inputs.ints.into_iter().map(integers));
    let visible = Visible::new(attention, &sizes, ints);
    let Sizes { batch, queries, keys, heads, width, .. } = sizes;
    let [out, logsumexp, gradient] = [3, 2, 1].map(|back| values(&floats[floats.len() - back]));
    let context = Context::new(attention, sizes, &floats, &visible);
    let bias_heads = context.bias_heads;

    let key_blocks = visible.blocks(keys, KEY_BLOCK);
    let units = units(&sizes, step.bias.then_some(bias_heads));
    let cost = batch * heads * queries * keys * 5 * width;
    let splits = if cost < GRAIN { 1 } else { splits(units.len(), key_blocks.len()) };
    let with_keys = if attention.packed.is_some() { step.queries } else { step.keys };
    let mut gradients: Vec<Buffer> = [step.queries, step.keys, step.keys]
        .into_iter()
        .zip(&shapes[..attention.sources()])
        .map(|(asked, shape)| zeros(if asked { shape.num_elements() } else { 0 }))
        .collect();
    let in_parts = step.queries && splits > 1;
    let mut query_parts =
        zeros(if in_parts { splits * batch * queries * heads * width } else { 0 });
    let mut bias_gradient = zeros(if step.bias { context.bias.len() } else { 0 });
    let shared: Vec<Shared<'_>> = gradients.iter_mut().map(|values| Shared::new(values)).collect();
    let places = Places::of_sources(attention, &sizes);
    let [whole, key_gradients, value_gradients] = [0, 1, 2].map(|index| {
        let shared = shared[if attention.packed.is_some() { 0 } else { index }];
        HeadsMut::new(shared, places[index])
    });
    let out_places = Places::new(queries, heads, 0, width);
    let query_gradients =
        if in_parts { HeadsMut::new(Shared::new(&mut query_parts), out_places) } else { whole };
    let work = Work {
        sources: sources(attention, &sizes, &floats),
        out: Heads::new(out, out_places),
        gradient: Heads::new(gradient, out_places),
        logsumexp,
        query_blocks: visible.blocks(queries, QUERY_BLOCK),
        context,
        queries: step.queries.then_some(query_gradients),
        in_parts,
        keys: with_keys.then_some([key_gradients, value_gradients]),
        bias_gradient: step.bias.then(|| Shared::new(&mut bias_gradient)),
    };
    let each = key_blocks.len().div_ceil(splits).max(1);
    let run = |scratch: &mut Scratch, task: usize| {
        let (unit, split) = (task / splits, task % splits);
        let end = ((split + 1) * each).min(key_blocks.len());
        let blocks = &key_blocks[(split * each).min(end)..end];
        for &(batch, kv_head) in &units[unit] {
            work.head([batch, kv_head], blocks, split, scratch);
        }
    };
    run_tasks(units.len() * splits, cost, run);
    if in_parts {
        add_parts(&query_parts, splits, &sizes, whole);
    }

    let asked = [step.queries, step.keys, step.keys];
    let found = gradients.into_iter().zip(&shapes).zip(asked).filter(|(_, asked)| *asked);
    let mut outputs: Vec<FlexTensor> =
        found.map(|((values, shape), _)| tensor(values, shape.clone())).collect();
    if step.bias {
        outputs.push(tensor(bias_gradient, shapes[attention.sources()].clone()));
    }
    outputs
}

/// Batches and heads of keys, together where they add to the same gradient of the bias.
fn units(sizes: &Sizes, bias_heads: Option<[usize; 2]>) -> Vec<Vec<(usize, usize)>> {
    let (batches, heads) = (sizes.batch, sizes.kv_heads);
    let [split_batch, split_heads] = match bias_heads {
        Some([bias_batches, bias_heads]) => [bias_batches == batches, bias_heads == sizes.heads],
        None => [true, true],
    };
    let alone = |split: bool, count: usize| {
        let each = if split { 1 } else { count.max(1) };
        (0..count).step_by(each).map(move |first| first..first + each).collect::<Vec<_>>()
    };
    let heads = alone(split_heads, heads);
    let pairs = alone(split_batch, batches).into_iter().flat_map(|batches| {
        heads.iter().map(move |heads| {
            batches.clone().flat_map(|batch| heads.clone().map(move |head| (batch, head))).collect()
        })
    });
    pairs.collect()
}

/// How many tasks share the keys of a unit.
fn splits(units: usize, blocks: usize) -> usize {
    let enough = 2 * rayon::current_num_threads();
    if units >= enough { 1 } else { enough.div_ceil(units.max(1)).clamp(1, blocks.max(1)) }
}

/// The sum of the parts of the queries' gradient, in their order.
fn add_parts(query_parts: &[f32], splits: usize, sizes: &Sizes, whole: HeadsMut<'_>) {
    let Sizes { batch, queries, heads, width, .. } = *sizes;
    let len = batch * queries * heads * width;
    chunks(batch * queries * heads, width * splits).into_par_iter().for_each(|rows| {
        for row in rows {
            let (token, head) = (row / heads, row % heads);
            // SAFETY: each row is of one part.
            let sum = unsafe { whole.row(token / queries, head, token % queries) };
            for split in 0..splits {
                let part = &query_parts[split * len + row * width..][..width];
                for (sum, part) in sum.iter_mut().zip(part) {
                    *sum += part;
                }
            }
        }
    });
}

/// What all tasks share.
struct Work<'a> {
    context: Context<'a>,
    sources: [Heads<'a>; 3],
    out: Heads<'a>,
    gradient: Heads<'a>,
    logsumexp: &'a [f32],
    query_blocks: Vec<Range<usize>>,
    /// The gradients of the queries, or as many of them as there are splits.
    queries: Option<HeadsMut<'a>>,
    in_parts: bool,
    keys: Option<[HeadsMut<'a>; 2]>,
    bias_gradient: Option<Shared<'a>>,
}

/// What a task needs for itself.
#[derive(Debug, Default)]
struct Scratch {
    /// Of all queries of the heads that share keys: the queries, the gradients of their outputs,
    /// the products of outputs and gradients, and the gradients.
    queries: Vec<f32>,
    outputs: Vec<f32>,
    delta: Vec<f32>,
    query_sums: Vec<f32>,
    /// Of a block of keys: the keys, both transposed, and the gradients.
    keys: Vec<f32>,
    keys_t: Vec<f32>,
    values_t: Vec<f32>,
    key_sums: Vec<f32>,
    value_sums: Vec<f32>,
    /// Of a tile.
    scores: Vec<f32>,
    gradients: Vec<f32>,
}

/// Zeros in a buffer.
fn cleared(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

impl Work<'_> {
    /// A head of keys, the heads of queries that share it, and some blocks of keys.
    fn head(
        &self,
        [batch, kv_head]: [usize; 2],
        key_blocks: &[Range<usize>],
        split: usize,
        scratch: &mut Scratch,
    ) {
        let Sizes { queries, width, .. } = self.context.sizes;
        let (group, stride) = (self.context.sizes.group(), padded(width));
        let heads = kv_head * group..(kv_head + 1) * group;
        for buffer in [&mut scratch.queries, &mut scratch.outputs, &mut scratch.delta] {
            buffer.clear();
        }
        let scale = self.context.attention.scale as f32;
        for head in heads.clone() {
            let at = [batch, head];
            copy(&mut scratch.queries, &self.sources[0], at, 0..queries, width, scale);
            copy(&mut scratch.outputs, &self.gradient, at, 0..queries, width, 1.0);
            scratch.delta.extend((0..queries).map(|query| {
                dot(self.out.row(batch, head, query), self.gradient.row(batch, head, query))
            }));
        }
        let len = if self.queries.is_some() { group * queries * stride } else { 0 };
        cleared(&mut scratch.query_sums, len);
        for keys in key_blocks {
            let at = [batch, kv_head];
            transpose(&mut scratch.keys_t, &self.sources[1], at, keys.clone(), width);
            transpose(&mut scratch.values_t, &self.sources[2], at, keys.clone(), width);
            scratch.keys.clear();
            copy(&mut scratch.keys, &self.sources[1], at, keys.clone(), width, scale);
            let len = if self.keys.is_some() { keys.len() * stride } else { 0 };
            cleared(&mut scratch.key_sums, len);
            cleared(&mut scratch.value_sums, len);
            let sequence = self.context.visible.sequence(keys.start);
            let first = self.query_blocks.partition_point(|block| block.start < sequence.start);
            let end = self.query_blocks.partition_point(|block| block.start < sequence.end);
            for head in heads.clone() {
                for block in &self.query_blocks[first..end] {
                    self.tile([batch, head], block, keys, scratch);
                }
            }
            let Some([key_gradients, value_gradients]) = &self.keys else { continue };
            for (gradients, sums) in
                [(key_gradients, &scratch.key_sums), (value_gradients, &scratch.value_sums)]
            {
                for (key, sums) in keys.clone().zip(sums.chunks_exact(stride)) {
                    // SAFETY: each block of keys of a head is one task's.
                    let out = unsafe { gradients.row(batch, kv_head, key) };
                    out.copy_from_slice(&sums[..width]);
                }
            }
        }
        let Some(gradients) = self.queries else { return };
        let gradients =
            if self.in_parts { gradients.part(split, self.context.sizes.batch) } else { gradients };
        for (index, sums) in scratch.query_sums.chunks_exact(stride).enumerate() {
            let (head, query) = (heads.start + index / queries, index % queries);
            // SAFETY: each head of a part is one task's.
            let out = unsafe { gradients.row(batch, head, query) };
            out.copy_from_slice(&sums[..width]);
        }
    }

    /// What a block of queries and a block of keys contribute.
    fn tile(
        &self,
        [batch, head]: [usize; 2],
        queries: &Range<usize>,
        keys: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Sizes { width, keys: all_keys, queries: all_queries, .. } = self.context.sizes;
        let seen = self.context.visible.range(batch, queries);
        // The part of the block that these queries attend to, from where a panel starts.
        let first = (seen.start.max(keys.start) - keys.start) / PANEL * PANEL;
        let end = seen.end.min(keys.end).max(keys.start) - keys.start;
        if first >= end || !self.context.visible.any(batch, queries, keys) {
            return;
        }
        let (rows, columns, width_stride) = (queries.len(), end - first, padded(width));
        let stride = columns.next_multiple_of(LANE);
        let group = self.context.sizes.group();
        let in_group = head % group * all_queries + queries.start;
        let block = in_group * width_stride..(in_group + rows) * width_stride;
        for buffer in [&mut scratch.scores, &mut scratch.gradients] {
            buffer.resize(rows * stride, 0.0);
        }
        let query_rows = &scratch.queries[block.clone()];
        let output_rows = &scratch.outputs[block.clone()];
        for (out, left, right) in [
            (&mut scratch.scores, query_rows, &scratch.keys_t),
            (&mut scratch.gradients, output_rows, &scratch.values_t),
        ] {
            let left = Left::rows(left, width_stride);
            let right = Right::panels(&right[first * width..], width);
            product(out, stride, false, left, right, [rows, width, stride]);
        }

        let first_key = keys.start + first;
        let tile = self.context.tile([batch, head], queries, first_key, columns);
        let first_row = tile.first_row as usize;
        let logsumexp = &self.logsumexp[first_row..first_row + rows];
        let delta = &scratch.delta[in_group..in_group + rows];
        differentiate(&tile, &mut scratch.scores, &mut scratch.gradients, logsumexp, delta);
        if let Some(total) = &self.bias_gradient {
            let bias = self.context.bias_start([batch, head], queries.start);
            for (row, gradients) in scratch.gradients.chunks_exact(stride).take(rows).enumerate() {
                // SAFETY: heads that share a bias are one task's, as is each block of keys.
                let total = unsafe { total.slice(bias + row * all_keys + first_key, columns) };
                for (total, gradient) in total.iter_mut().zip(gradients) {
                    *total += gradient;
                }
            }
        }
        if self.queries.is_some() {
            let out = &mut scratch.query_sums[block.clone()];
            let left = Left::rows(&scratch.gradients, stride);
            let right = Right::rows(&scratch.keys[first * width_stride..], width_stride);
            product(out, width_stride, true, left, right, [rows, columns, width_stride]);
        }
        if self.keys.is_some() {
            for (out, left, right) in [
                (&mut scratch.key_sums, &scratch.gradients, query_rows),
                (&mut scratch.value_sums, &scratch.scores, output_rows),
            ] {
                let out = &mut out[first * width_stride..];
                let (left, right) = (Left::columns(left, stride), Right::rows(right, width_stride));
                product(out, width_stride, true, left, right, [columns, rows, width_stride]);
            }
        }
    }
}
