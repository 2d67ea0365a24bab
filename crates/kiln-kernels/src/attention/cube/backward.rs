//! The backward step: the queries' gradient by tiles of queries, the keys' and the values' by tiles
//! of keys.

use super::{
    super::shape::{AttentionBackward, Sizes},
    bias,
    gradients::tile_gradients,
    plan::{Inputs, Params, Plan, Step, launch_tiles, rows_from, slope_of},
    tile::{Shared, Tile, add_weighted, key_place, query_place, share, write},
    visible::{keys_of_tile, queries_of_tile, skip_gap},
};
use crate::cube::{CubeTensors, buffer, cube_index, launch, thread_index, zeros};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(in super::super) fn backward<R: CubeRuntime>(
    step: &AttentionBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let floats = &inputs.floats;
    let [out, logsumexp, gradient] = [3, 2, 1].map(|back| &floats[floats.len() - back]);
    let inputs = Inputs::new(&step.attention, inputs)?;
    let statistics = statistics(&inputs, out, logsumexp, gradient);
    let sources = [&inputs.queries, &inputs.keys, &inputs.values];
    let like = |tensor: &CubeTensor<R>| buffer(tensor, tensor.meta.shape().clone(), tensor.dtype);
    let mut outputs = Vec::new();
    if inputs.plan.packed {
        if step.queries {
            let all = like(sources[0]);
            queries_gradient(&inputs, gradient, &statistics, &all);
            keys_gradient(&inputs, gradient, &statistics, &all, false);
            keys_gradient(&inputs, gradient, &statistics, &all, true);
            outputs.push(all);
        }
    } else {
        if step.queries {
            outputs.push(like(sources[0]));
            queries_gradient(&inputs, gradient, &statistics, &outputs[0]);
        }
        if step.keys {
            for (index, of_values) in [(1, false), (2, true)] {
                let out = like(sources[index]);
                keys_gradient(&inputs, gradient, &statistics, &out, of_values);
                outputs.push(out);
            }
        }
    }
    if step.bias {
        let out = like(&inputs.bias);
        bias::gradient(&inputs, gradient, &statistics, &out);
        outputs.push(out);
    }
    Some(outputs)
}

/// `[2, batch, heads, queries]`: the log-sum-exp of each row, and the product of its output and its
/// gradient.
fn statistics<R: CubeRuntime>(
    inputs: &Inputs<R>,
    out: &CubeTensor<R>,
    logsumexp: &CubeTensor<R>,
    gradient: &CubeTensor<R>,
) -> CubeTensor<R> {
    let Sizes { batch, queries, heads, .. } = inputs.sizes;
    let statistics = buffer(out, [2, batch, heads, queries], DType::F32);
    launch!(
        row_statistics,
        out,
        threads(batch * heads * queries),
        [out, logsumexp, gradient, statistics],
        inputs.params(),
        inputs.plan,
        out.dtype.into(),
    );
    statistics
}

fn queries_gradient<R: CubeRuntime>(
    inputs: &Inputs<R>,
    gradient: &CubeTensor<R>,
    statistics: &CubeTensor<R>,
    out: &CubeTensor<R>,
) {
    let Sizes { batch, queries, heads, .. } = inputs.sizes;
    let count = batch * heads * queries.div_ceil(inputs.plan.tile);
    launch_tiles!(queries_tile, inputs, count, inputs.step(gradient, statistics), [out]);
}

fn keys_gradient<R: CubeRuntime>(
    inputs: &Inputs<R>,
    gradient: &CubeTensor<R>,
    statistics: &CubeTensor<R>,
    out: &CubeTensor<R>,
    of_values: bool,
) {
    let Sizes { batch, keys, kv_heads, .. } = inputs.sizes;
    let count = batch * kv_heads * keys.div_ceil(inputs.plan.tile);
    launch_tiles!(keys_tile, inputs, count, inputs.step(gradient, statistics), [out], of_values);
}

#[cube(launch)]
fn row_statistics<F: Float>(
    out: &Array<F>,
    logsumexp: &Array<f32>,
    gradient: &Array<F>,
    statistics: &mut Array<f32>,
    count: usize,
    params: &Params,
    #[comptime] plan: Plan,
    #[define(F)] _dtype: StorageType,
) {
    let index = thread_index(count);
    let row = index as u32;
    let heads = comptime!(plan.heads as u32);
    let query = row % params.queries;
    let head = row / params.queries % heads;
    let batch = row / params.queries / heads;
    let first = (batch * params.queries + query) as usize * comptime!(plan.out_stride())
        + head as usize * comptime!(plan.width);
    let mut sum = 0.0f32;
    for column in 0..comptime!(plan.width) {
        sum += f32::cast_from(out[first + column]) * f32::cast_from(gradient[first + column]);
    }
    statistics[index] = logsumexp[index];
    statistics[count + index] = sum;
}

#[cube(launch)]
fn queries_tile<F: Float>(
    step: &Step<F>,
    out: &mut Array<F>,
    count: usize,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let piece = cube_index(count) as u32;
    let sources = &step.sources;
    let (masks, params) = (&sources.masks, &sources.params);
    let size = comptime!(plan.tile as u32);
    let blocks = params.queries.div_ceil(size);
    let head = piece / blocks % comptime!(plan.heads as u32);
    let batch = piece / blocks / comptime!(plan.heads as u32);
    let first_query = piece % blocks * size;
    let rows = rows_from(first_query, params.queries, plan);
    let slope = slope_of(head, slopes);
    let mut shared = Shared::new(plan.tile);
    let mut sums = zeros(comptime!(plan.each() * plan.columns()));
    let (first, end) = keys_of_tile(masks, params, batch, first_query, rows, plan);
    let last_query = first_query + rows - 1;
    let mut first_key = skip_gap(first, masks, params, batch, first_query, last_query, plan);
    while first_key < end {
        let tile = Tile { batch, head, first_query, first_key };
        let (_, gradients) = tile_gradients::<F>(&mut shared, &tile, step, slope, true, plan);
        share(&mut shared, &gradients, params.scale, plan);
        add_weighted::<F>(
            &mut sums,
            &mut shared,
            &sources.keys,
            key_place(&tile, params, plan) + comptime!(plan.key_first()),
            comptime!(plan.key_stride()),
            rows_from(first_key, params.keys, plan),
            false,
            plan,
        );
        let next = first_key + size;
        first_key = skip_gap(next, masks, params, batch, first_query, last_query, plan);
    }
    let tile = Tile { batch, head, first_query, first_key };
    let out_first = query_place(&tile, params, comptime!(plan.query_stride()), plan);
    write::<F>(out, &sums, out_first, comptime!(plan.query_stride()), rows, plan);
}

#[cube(launch)]
fn keys_tile<F: Float>(
    step: &Step<F>,
    out: &mut Array<F>,
    count: usize,
    #[comptime] of_values: bool,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let piece = cube_index(count) as u32;
    let sources = &step.sources;
    let (masks, params) = (&sources.masks, &sources.params);
    let size = comptime!(plan.tile as u32);
    let group = comptime!(plan.group() as u32);
    let kv_heads = comptime!(plan.kv_heads as u32);
    let blocks = params.keys.div_ceil(size);
    let kv_head = piece / blocks % kv_heads;
    let batch = piece / blocks / kv_heads;
    let first_key = piece % blocks * size;
    let rows = rows_from(first_key, params.keys, plan);
    let mut shared = Shared::new(plan.tile);
    let mut sums = zeros(comptime!(plan.each() * plan.columns()));
    let (first, end) = queries_of_tile(masks, params, batch, first_key, rows, plan);
    for index in 0..group {
        let head = kv_head * group + index;
        let slope = slope_of(head, comptime!(slopes.clone()));
        for first_query in range_stepped(first, end, size) {
            let tile = Tile { batch, head, first_query, first_key };
            let (weights, gradients) =
                tile_gradients::<F>(&mut shared, &tile, step, slope, comptime!(!of_values), plan);
            let query_rows = rows_from(first_query, params.queries, plan);
            if of_values {
                share(&mut shared, &weights, 1.0f32, plan);
                add_weighted::<F>(
                    &mut sums,
                    &mut shared,
                    &step.gradient,
                    query_place(&tile, params, comptime!(plan.out_stride()), plan),
                    comptime!(plan.out_stride()),
                    query_rows,
                    true,
                    plan,
                );
            } else {
                share(&mut shared, &gradients, params.scale, plan);
                add_weighted::<F>(
                    &mut sums,
                    &mut shared,
                    &sources.queries,
                    query_place(&tile, params, comptime!(plan.query_stride()), plan),
                    comptime!(plan.query_stride()),
                    query_rows,
                    true,
                    plan,
                );
            }
        }
    }
    let in_token = comptime!(if of_values { plan.value_first() } else { plan.key_first() });
    let tile = Tile { batch, head: kv_head * group, first_query: first, first_key };
    let out_first = key_place(&tile, params, plan) + in_token;
    write::<F>(out, &sums, out_first, comptime!(plan.key_stride()), rows, plan);
}
