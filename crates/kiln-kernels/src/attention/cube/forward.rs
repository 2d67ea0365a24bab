//! The forward step: a cube a tile of queries.

use super::{
    super::shape::{Attention, Sizes},
    plan::{Inputs, Plan, SIDE, Sources, launch_tiles, rows_from, slope_of},
    tile::{
        Shared, Tile, add_products, add_weighted, finish_scores, kept, key_place, place,
        query_place, write,
    },
    visible::{keys_of_tile, skip_gap},
};
use crate::cube::{CubeTensors, LOWEST, buffer, cube_index, zeros};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(in super::super) fn forward<R: CubeRuntime>(
    attention: &Attention,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let inputs = Inputs::new(attention, inputs)?;
    let Sizes { batch, queries, heads, width, .. } = inputs.sizes;
    let like = &inputs.queries;
    let out = buffer(like, [batch, queries, heads, width], like.dtype);
    let logsumexp = buffer(like, [batch, heads, queries], DType::F32);
    let count = batch * heads * queries.div_ceil(inputs.plan.tile);
    launch_tiles!(forward_tile, inputs, count, inputs.sources(), [out, logsumexp]);
    Some(vec![out, logsumexp])
}

#[cube(launch)]
fn forward_tile<F: Float>(
    sources: &Sources<F>,
    out: &mut Array<F>,
    logsumexp: &mut Array<f32>,
    count: usize,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let piece = cube_index(count) as u32;
    let (masks, params) = (&sources.masks, &sources.params);
    let tile_size = comptime!(plan.tile as u32);
    let blocks = params.queries.div_ceil(tile_size);
    let head_row = piece / blocks;
    let head = head_row % comptime!(plan.heads as u32);
    let batch = head_row / comptime!(plan.heads as u32);
    let first_query = piece % blocks * tile_size;
    let rows = rows_from(first_query, params.queries, plan);
    let slope = slope_of(head, slopes);

    let (row, column) = place();
    let each = comptime!(plan.each());
    let mut shared = Shared::new(plan.tile);
    let stride = comptime!(plan.tile + 1);
    let mut sums = zeros(comptime!(plan.each() * plan.columns()));
    let mut totals = zeros(each);
    let mut largest = Array::<f32>::new(each);
    #[unroll]
    for m in 0..each {
        largest[m] = comptime!(LOWEST).runtime();
    }

    let (first, end) = keys_of_tile(masks, params, batch, first_query, rows, plan);
    let last_query = first_query + rows - 1;
    let mut first_key = skip_gap(first, masks, params, batch, first_query, last_query, plan);
    while first_key < end {
        let tile = Tile { batch, head, first_query, first_key };
        let key_rows = rows_from(first_key, params.keys, plan);
        let key_first = key_place(&tile, params, plan);
        let mut scores = zeros(comptime!(plan.each() * plan.each()));
        add_products::<F>(
            &mut scores,
            &mut shared,
            &sources.queries,
            query_place(&tile, params, comptime!(plan.query_stride()), plan),
            comptime!(plan.query_stride()),
            rows,
            &sources.keys,
            key_first + comptime!(plan.key_first()),
            comptime!(plan.key_stride()),
            key_rows,
            plan,
        );
        finish_scores::<F>(&mut scores, &tile, sources, slope, plan);

        // The largest score of each row: of each thread's, then of the 16 threads of the row.
        #[unroll]
        for m in 0..each {
            let mut best = scores[m * each];
            #[unroll]
            for n in 1..each {
                let score = scores[m * each + n];
                best = select(score > best, score, best);
            }
            let place = (row as usize + m * comptime!(SIDE)) * stride + column as usize;
            shared.weights[place] = best;
        }
        sync_cube();
        let mut now = Array::<f32>::new(each);
        #[unroll]
        for m in 0..each {
            let mut best = largest[m];
            for other in 0..comptime!(SIDE) {
                let score = shared.weights[(row as usize + m * comptime!(SIDE)) * stride + other];
                best = select(score > best, score, best);
            }
            now[m] = best;
        }
        sync_cube();
        #[unroll]
        for m in 0..each {
            let shrink = (largest[m] - now[m]).exp();
            largest[m] = now[m];
            let mut total = totals[m] * shrink;
            #[unroll]
            for n in 0..comptime!(plan.columns()) {
                sums[m * comptime!(plan.columns()) + n] *= shrink;
            }
            let query = first_query + row + comptime!((m * SIDE) as u32);
            #[unroll]
            for n in 0..each {
                let score = scores[m * each + n];
                let mut weight = 0.0f32;
                if score > comptime!(LOWEST * 0.5) {
                    weight = (score - now[m]).exp();
                }
                total += weight;
                if comptime!(plan.dropout) {
                    let key = first_key + column + comptime!((n * SIDE) as u32);
                    weight *= kept(&tile, params, query, key, plan);
                }
                let place = (row as usize + m * comptime!(SIDE)) * stride
                    + column as usize
                    + n * comptime!(SIDE);
                shared.weights[place] = weight;
            }
            totals[m] = total;
        }
        sync_cube();
        add_weighted::<F>(
            &mut sums,
            &mut shared,
            &sources.values,
            key_first + comptime!(plan.value_first()),
            comptime!(plan.key_stride()),
            key_rows,
            false,
            plan,
        );
        let next = first_key + tile_size;
        first_key = skip_gap(next, masks, params, batch, first_query, last_query, plan);
    }

    // Each thread has summed its own columns.
    #[unroll]
    for m in 0..each {
        shared.weights[(row as usize + m * comptime!(SIDE)) * stride + column as usize] = totals[m];
    }
    sync_cube();
    #[unroll]
    for m in 0..each {
        let mut total = 0.0f32;
        for other in 0..comptime!(SIDE) {
            total += shared.weights[(row as usize + m * comptime!(SIDE)) * stride + other];
        }
        let mut share = 0.0f32;
        let mut logarithm = 0.0f32;
        if total > 0.0f32 {
            share = 1.0f32 / total;
            logarithm = largest[m] + total.ln();
        }
        #[unroll]
        for n in 0..comptime!(plan.columns()) {
            sums[m * comptime!(plan.columns()) + n] *= share;
        }
        let query = row + comptime!((m * SIDE) as u32);
        if column == 0 && query < rows {
            logsumexp[(head_row * params.queries + first_query + query) as usize] = logarithm;
        }
    }
    let tile = Tile { batch, head, first_query, first_key };
    let out_stride = comptime!(plan.out_stride());
    let out_first = query_place(&tile, params, out_stride, plan);
    write::<F>(out, &sums, out_first, out_stride, rows, plan);
}
