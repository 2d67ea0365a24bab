//! The backward step: the queries' gradient by tiles of queries, the keys' and the values' by tiles
//! of keys.

use super::{
    super::kernel::{AttentionBackward, Sizes},
    THREADS, bias,
    plan::{Inputs, Numbers, Plan, keys_of, queries_of, rows_from, slope_of, within},
    tile::{
        Shared, Tile, add_products, add_weighted, differentiate, finish_scores, share, write, zeros,
    },
};
use crate::cube::{CubeTensors, ROW_THREADS, cubes, cubes_elementwise, room};
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
    let like = |tensor: &CubeTensor<R>| room(tensor, tensor.meta.shape().clone(), tensor.dtype);
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
    let statistics = room(out, [2, batch, heads, queries], DType::F32);
    row_statistics::launch::<R>(
        &out.client,
        cubes_elementwise(batch * heads * queries),
        CubeDim::new_1d(ROW_THREADS),
        out.clone().into_array_arg(),
        logsumexp.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        statistics.clone().into_array_arg(),
        inputs.numbers(),
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
    queries_tile::launch::<R>(
        &out.client,
        cubes(batch * heads * queries.div_ceil(inputs.plan.tile)),
        CubeDim::new_1d(THREADS),
        inputs.queries.clone().into_array_arg(),
        inputs.keys.clone().into_array_arg(),
        inputs.values.clone().into_array_arg(),
        inputs.bias.clone().into_array_arg(),
        inputs.ints.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        statistics.clone().into_array_arg(),
        out.clone().into_array_arg(),
        inputs.numbers(),
        inputs.plan,
        inputs.slopes(),
        out.dtype.into(),
    );
}

fn keys_gradient<R: CubeRuntime>(
    inputs: &Inputs<R>,
    gradient: &CubeTensor<R>,
    statistics: &CubeTensor<R>,
    out: &CubeTensor<R>,
    of_values: bool,
) {
    let Sizes { batch, keys, kv_heads, .. } = inputs.sizes;
    keys_tile::launch::<R>(
        &out.client,
        cubes(batch * kv_heads * keys.div_ceil(inputs.plan.tile)),
        CubeDim::new_1d(THREADS),
        inputs.queries.clone().into_array_arg(),
        inputs.keys.clone().into_array_arg(),
        inputs.values.clone().into_array_arg(),
        inputs.bias.clone().into_array_arg(),
        inputs.ints.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        statistics.clone().into_array_arg(),
        out.clone().into_array_arg(),
        inputs.numbers(),
        of_values,
        inputs.plan,
        inputs.slopes(),
        out.dtype.into(),
    );
}

#[cube(launch)]
fn row_statistics<F: Float>(
    out: &Array<F>,
    logsumexp: &Array<f32>,
    gradient: &Array<F>,
    statistics: &mut Array<f32>,
    numbers: &Numbers,
    #[comptime] plan: Plan,
    #[define(F)] _dtype: StorageType,
) {
    let row = ABSOLUTE_POS as u32;
    let heads = comptime!(plan.heads as u32);
    let count = numbers.batch * heads * numbers.queries;
    if row >= count {
        terminate!();
    }
    let query = row % numbers.queries;
    let head = row / numbers.queries % heads;
    let batch = row / numbers.queries / heads;
    let first = (batch * numbers.queries + query) as usize * comptime!(plan.out_stride())
        + head as usize * comptime!(plan.width);
    let mut sum = 0.0f32;
    for column in 0..comptime!(plan.width) {
        sum += f32::cast_from(out[first + column]) * f32::cast_from(gradient[first + column]);
    }
    statistics[row as usize] = logsumexp[row as usize];
    statistics[(count + row) as usize] = sum;
}

/// Scores and the gradients of weights of a tile become weights and gradients of scores.
#[cube]
pub(super) fn tile_gradients<F: Float>(
    scores: &mut Array<f32>,
    gradients: &mut Array<f32>,
    shared: &mut Shared,
    tile: &Tile,
    queries: &Array<F>,
    keys: &Array<F>,
    values: &Array<F>,
    bias: &Array<F>,
    ints: &Array<i32>,
    gradient: &Array<F>,
    statistics: &Array<f32>,
    slope: f32,
    numbers: &Numbers,
    // Whether the gradients of scores are asked for, or the weights alone.
    #[comptime] with_gradients: bool,
    #[comptime] plan: Plan,
) {
    let query_rows = rows_from(tile.first_query, numbers.queries, plan);
    let key_rows = rows_from(tile.first_key, numbers.keys, plan);
    let head_width = comptime!(plan.width);
    let query_token = (tile.batch * numbers.queries + tile.first_query) as usize;
    let in_query = tile.head as usize * head_width;
    let key_first = (tile.batch * numbers.keys + tile.first_key) as usize
        * comptime!(plan.key_stride())
        + (tile.head / comptime!(plan.group() as u32)) as usize * head_width;
    add_products::<F>(
        scores,
        shared,
        queries,
        query_token * comptime!(plan.query_stride()) + in_query,
        comptime!(plan.query_stride()),
        query_rows,
        keys,
        key_first + comptime!(plan.key_first()),
        comptime!(plan.key_stride()),
        key_rows,
        plan,
    );
    finish_scores::<F>(scores, tile, bias, ints, slope, numbers, plan);
    if with_gradients {
        add_products::<F>(
            gradients,
            shared,
            gradient,
            query_token * comptime!(plan.out_stride()) + in_query,
            comptime!(plan.out_stride()),
            query_rows,
            values,
            key_first + comptime!(plan.value_first()),
            comptime!(plan.key_stride()),
            key_rows,
            plan,
        );
    }
    differentiate(scores, gradients, tile, statistics, numbers, plan);
}

#[cube(launch)]
fn queries_tile<F: Float>(
    queries: &Array<F>,
    keys: &Array<F>,
    values: &Array<F>,
    bias: &Array<F>,
    ints: &Array<i32>,
    gradient: &Array<F>,
    statistics: &Array<f32>,
    out: &mut Array<F>,
    numbers: &Numbers,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let size = comptime!(plan.tile as u32);
    let blocks = numbers.queries.div_ceil(size);
    let piece = CUBE_POS as u32;
    if piece >= numbers.batch * comptime!(plan.heads as u32) * blocks {
        terminate!();
    }
    let head = piece / blocks % comptime!(plan.heads as u32);
    let batch = piece / blocks / comptime!(plan.heads as u32);
    let first_query = piece % blocks * size;
    let rows = rows_from(first_query, numbers.queries, plan);
    let slope = slope_of(head, slopes);
    let mut shared = Shared::new(plan.tile);
    let mut sums = zeros(comptime!(plan.each() * plan.columns()));
    let (first, _) = keys_of(ints, numbers, first_query, plan);
    let (_, end) = keys_of(ints, numbers, first_query + rows - 1, plan);
    let (first, end) = within(first, end, numbers.keys);
    for first_key in range_stepped(first, end, size) {
        let tile = Tile { batch, head, first_query, first_key };
        let mut scores = zeros(comptime!(plan.each() * plan.each()));
        let mut gradients = zeros(comptime!(plan.each() * plan.each()));
        tile_gradients::<F>(
            &mut scores,
            &mut gradients,
            &mut shared,
            &tile,
            queries,
            keys,
            values,
            bias,
            ints,
            gradient,
            statistics,
            slope,
            numbers,
            true,
            plan,
        );
        share(&mut shared, &gradients, numbers.scale, plan);
        let key_first = (batch * numbers.keys + first_key) as usize * comptime!(plan.key_stride())
            + (head / comptime!(plan.group() as u32)) as usize * comptime!(plan.width);
        add_weighted::<F>(
            &mut sums,
            &mut shared,
            keys,
            key_first + comptime!(plan.key_first()),
            comptime!(plan.key_stride()),
            rows_from(first_key, numbers.keys, plan),
            false,
            plan,
        );
    }
    let out_first = (batch * numbers.queries + first_query) as usize
        * comptime!(plan.query_stride())
        + head as usize * comptime!(plan.width);
    write::<F>(out, &sums, out_first, comptime!(plan.query_stride()), rows, plan);
}

#[cube(launch)]
fn keys_tile<F: Float>(
    queries: &Array<F>,
    keys: &Array<F>,
    values: &Array<F>,
    bias: &Array<F>,
    ints: &Array<i32>,
    gradient: &Array<F>,
    statistics: &Array<f32>,
    out: &mut Array<F>,
    numbers: &Numbers,
    #[comptime] of_values: bool,
    #[comptime] plan: Plan,
    #[comptime] slopes: Vec<u32>,
    #[define(F)] _dtype: StorageType,
) {
    let size = comptime!(plan.tile as u32);
    let group = comptime!(plan.group() as u32);
    let kv_heads = comptime!(plan.kv_heads as u32);
    let blocks = numbers.keys.div_ceil(size);
    let piece = CUBE_POS as u32;
    if piece >= numbers.batch * kv_heads * blocks {
        terminate!();
    }
    let kv_head = piece / blocks % kv_heads;
    let batch = piece / blocks / kv_heads;
    let first_key = piece % blocks * size;
    let rows = rows_from(first_key, numbers.keys, plan);
    let mut shared = Shared::new(plan.tile);
    let mut sums = zeros(comptime!(plan.each() * plan.columns()));
    let (first, _) = queries_of(ints, numbers, first_key, plan);
    let (_, end) = queries_of(ints, numbers, first_key + rows - 1, plan);
    let (first, end) = within(first, end, numbers.queries);
    for index in 0..group {
        let head = kv_head * group + index;
        let slope = slope_of(head, comptime!(slopes.clone()));
        for first_query in range_stepped(first, end, size) {
            let tile = Tile { batch, head, first_query, first_key };
            let mut scores = zeros(comptime!(plan.each() * plan.each()));
            let mut gradients = zeros(comptime!(plan.each() * plan.each()));
            tile_gradients::<F>(
                &mut scores,
                &mut gradients,
                &mut shared,
                &tile,
                queries,
                keys,
                values,
                bias,
                ints,
                gradient,
                statistics,
                slope,
                numbers,
                comptime!(!of_values),
                plan,
            );
            let query_rows = rows_from(first_query, numbers.queries, plan);
            let token = (batch * numbers.queries + first_query) as usize;
            let in_token = head as usize * comptime!(plan.width);
            if of_values {
                share(&mut shared, &scores, 1.0f32, plan);
                let from = token * comptime!(plan.out_stride()) + in_token;
                let stride = comptime!(plan.out_stride());
                add_weighted::<F>(
                    &mut sums,
                    &mut shared,
                    gradient,
                    from,
                    stride,
                    query_rows,
                    true,
                    plan,
                );
            } else {
                share(&mut shared, &gradients, numbers.scale, plan);
                let from = token * comptime!(plan.query_stride()) + in_token;
                let stride = comptime!(plan.query_stride());
                add_weighted::<F>(
                    &mut sums,
                    &mut shared,
                    queries,
                    from,
                    stride,
                    query_rows,
                    true,
                    plan,
                );
            }
        }
    }
    let in_token = comptime!(if of_values { plan.value_first() } else { plan.key_first() });
    let out_first = (batch * numbers.keys + first_key) as usize * comptime!(plan.key_stride())
        + kv_head as usize * comptime!(plan.width)
        + in_token;
    write::<F>(out, &sums, out_first, comptime!(plan.key_stride()), rows, plan);
}
