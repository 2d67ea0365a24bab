//! The gradient of the bias: a cube a tile of it, which sums over the batches and heads that share
//! it.

use super::{
    gradients::tile_gradients,
    plan::{Inputs, Plan, SIDE, Step, launch_tiles, slope_of},
    tile::{Shared, Tile, bias_place, place},
};
use crate::cube::{cube_index, zeros};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn gradient<R: CubeRuntime>(
    inputs: &Inputs<R>,
    gradient: &CubeTensor<R>,
    statistics: &CubeTensor<R>,
    out: &CubeTensor<R>,
) {
    let [batches, heads] = inputs.bias_heads;
    let tiles = |count: usize| count.div_ceil(inputs.plan.tile);
    let count = batches * heads * tiles(inputs.sizes.queries) * tiles(inputs.sizes.keys);
    launch_tiles!(bias_tile, inputs, count, inputs.step(gradient, statistics), [out]);
}

#[cube(launch)]
fn bias_tile<F: Float>(
    step: &Step<F>,
    out: &mut Array<F>,
    count: usize,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let piece = cube_index(count) as u32;
    let params = &step.sources.params;
    let size = comptime!(plan.tile as u32);
    let query_blocks = params.queries.div_ceil(size);
    let key_blocks = params.keys.div_ceil(size);
    let slice = piece / key_blocks / query_blocks;
    let first_key = piece % key_blocks * size;
    let first_query = piece / key_blocks % query_blocks * size;
    let heads = comptime!(plan.heads as u32);
    // What the slice is summed over.
    let all_batches = params.bias_batch == 1;
    let all_heads = params.bias_heads == 1;
    let first_batch = select(all_batches, 0u32, slice / params.bias_heads);
    let batches = select(all_batches, params.batch, 1u32);
    let first_head = select(all_heads, 0u32, slice % params.bias_heads);
    let head_count = select(all_heads, heads, 1u32);

    let mut shared = Shared::new(plan.tile);
    let each = comptime!(plan.each());
    let mut sums = zeros(comptime!(plan.each() * plan.each()));
    for index in 0..batches * head_count {
        let batch = first_batch + index / head_count;
        let head = first_head + index % head_count;
        let slope = slope_of(head, comptime!(slopes.clone()));
        let tile = Tile { batch, head, first_query, first_key };
        let (_, gradients) = tile_gradients::<F>(&mut shared, &tile, step, slope, true, plan);
        #[unroll]
        for value in 0..comptime!(plan.each() * plan.each()) {
            sums[value] += gradients[value];
        }
    }
    let (row, column) = place();
    let tile = Tile { batch: first_batch, head: first_head, first_query, first_key };
    #[unroll]
    for m in 0..each {
        let query = first_query + row + comptime!((m * SIDE) as u32);
        #[unroll]
        for n in 0..each {
            let key = first_key + column + comptime!((n * SIDE) as u32);
            if query < params.queries && key < params.keys {
                out[bias_place(&tile, params, query, key)] = F::cast_from(sums[m * each + n]);
            }
        }
    }
}
