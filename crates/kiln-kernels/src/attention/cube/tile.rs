//! What a cube does with a tile.

use super::{
    plan::{CHUNK, CHUNK_STRIDE, Params, Plan, SIDE, Sources, THREADS},
    visible::{context_end, keys_of, position_of},
};
use crate::{cube::LOWEST, random::cube::bits};
use cubecl::prelude::*;

/// Shared memory of a cube.
#[derive(CubeType)]
pub(super) struct Shared {
    left: SharedMemory<f32>,
    right: SharedMemory<f32>,
    /// Weights or gradients of scores, a row a query.
    pub(super) weights: SharedMemory<f32>,
}

#[cube]
impl Shared {
    pub(super) fn new(#[comptime] tile: usize) -> Shared {
        Shared {
            left: SharedMemory::<f32>::new(comptime!(tile * CHUNK_STRIDE)),
            right: SharedMemory::<f32>::new(comptime!(tile * CHUNK_STRIDE)),
            weights: SharedMemory::<f32>::new(comptime!(tile * (tile + 1))),
        }
    }
}

/// Where a thread is in its tile: its first row and its first column.
#[cube]
pub(super) fn place() -> (u32, u32) {
    (UNIT_POS / comptime!(SIDE as u32), UNIT_POS % comptime!(SIDE as u32))
}

/// Some columns of the rows of a tile, zeros where there are none.
#[cube]
fn load<F: Float>(
    to: &mut SharedMemory<f32>,
    from: &Array<F>,
    first: usize,
    #[comptime] stride: usize,
    rows: u32,
    first_column: u32,
    #[comptime] plan: Plan,
) {
    let column = UNIT_POS % comptime!(CHUNK as u32);
    let from_column = first_column + column;
    let step = comptime!(THREADS / CHUNK as u32);
    #[unroll]
    for index in 0..comptime!(plan.tile / (THREADS as usize / CHUNK)) {
        let row = UNIT_POS / comptime!(CHUNK as u32) + comptime!(index as u32) * step;
        let mut value = 0.0f32;
        if row < rows && from_column < comptime!(plan.width as u32) {
            value = f32::cast_from(from[first + row as usize * stride + from_column as usize]);
        }
        to[row as usize * comptime!(CHUNK_STRIDE) + column as usize] = value;
    }
}

/// Adds the products of the rows of two tiles to a thread's scores.
#[cube]
pub(super) fn add_products<F: Float>(
    scores: &mut Array<f32>,
    shared: &mut Shared,
    left: &Array<F>,
    left_first: usize,
    #[comptime] left_stride: usize,
    left_rows: u32,
    right: &Array<F>,
    right_first: usize,
    #[comptime] right_stride: usize,
    right_rows: u32,
    #[comptime] plan: Plan,
) {
    let (row, column) = place();
    let each = comptime!(plan.each());
    for chunk in 0..comptime!(plan.chunks() as u32) {
        let first_column = chunk * comptime!(CHUNK as u32);
        load::<F>(&mut shared.left, left, left_first, left_stride, left_rows, first_column, plan);
        load::<F>(
            &mut shared.right,
            right,
            right_first,
            right_stride,
            right_rows,
            first_column,
            plan,
        );
        sync_cube();
        for depth in 0..comptime!(CHUNK) {
            let mut rights = Array::<f32>::new(each);
            #[unroll]
            for n in 0..each {
                let place =
                    (column as usize + n * comptime!(SIDE)) * comptime!(CHUNK_STRIDE) + depth;
                rights[n] = shared.right[place];
            }
            #[unroll]
            for m in 0..each {
                let place = (row as usize + m * comptime!(SIDE)) * comptime!(CHUNK_STRIDE) + depth;
                let left = shared.left[place];
                #[unroll]
                for n in 0..each {
                    scores[m * each + n] += left * rights[n];
                }
            }
        }
        sync_cube();
    }
}

/// Adds the weighted rows of a tile to a thread's sums; the weights are those in shared memory, or
/// their transpose.
#[cube]
pub(super) fn add_weighted<F: Float>(
    sums: &mut Array<f32>,
    shared: &mut Shared,
    from: &Array<F>,
    first: usize,
    #[comptime] stride: usize,
    rows: u32,
    #[comptime] transposed: bool,
    #[comptime] plan: Plan,
) {
    let (row, column) = place();
    let each = comptime!(plan.each());
    let wide = comptime!(CHUNK / SIDE);
    let columns = comptime!(plan.columns());
    let weight_stride = comptime!(plan.tile + 1);
    #[unroll]
    for chunk in 0..comptime!(plan.chunks()) {
        load::<F>(
            &mut shared.right,
            from,
            first,
            stride,
            rows,
            comptime!((chunk * CHUNK) as u32).runtime(),
            plan,
        );
        sync_cube();
        for depth in 0..comptime!(plan.tile) {
            let mut values = Array::<f32>::new(wide);
            #[unroll]
            for n in 0..wide {
                let place = depth * comptime!(CHUNK_STRIDE) + column as usize + n * comptime!(SIDE);
                values[n] = shared.right[place];
            }
            #[unroll]
            for m in 0..each {
                let out = row as usize + m * comptime!(SIDE);
                let mut place = out * weight_stride + depth;
                if transposed {
                    place = depth * weight_stride + out;
                }
                let weight = shared.weights[place];
                #[unroll]
                for n in 0..wide {
                    sums[m * columns + chunk * wide + n] += weight * values[n];
                }
            }
        }
        sync_cube();
    }
}

/// Writes a thread's sums.
#[cube]
pub(super) fn write<F: Float>(
    to: &mut Array<F>,
    sums: &Array<f32>,
    first: usize,
    #[comptime] stride: usize,
    rows: u32,
    #[comptime] plan: Plan,
) {
    let (first_row, first_column) = place();
    let columns = comptime!(plan.columns());
    #[unroll]
    for m in 0..comptime!(plan.each()) {
        let row = first_row + comptime!((m * SIDE) as u32);
        #[unroll]
        for n in 0..columns {
            let column = first_column + comptime!((n * SIDE) as u32);
            if row < rows && column < comptime!(plan.width as u32) {
                let place = first + row as usize * stride + column as usize;
                to[place] = F::cast_from(sums[m * columns + n]);
            }
        }
    }
}

/// A tile of a head.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Tile {
    pub(super) batch: u32,
    pub(super) head: u32,
    pub(super) first_query: u32,
    pub(super) first_key: u32,
}

/// Where the first query of a tile lies among tokens `stride` apart, and so its output.
#[cube]
pub(super) fn query_place(
    tile: &Tile,
    params: &Params,
    #[comptime] stride: usize,
    #[comptime] plan: Plan,
) -> usize {
    (tile.batch * params.queries + tile.first_query) as usize * stride
        + tile.head as usize * comptime!(plan.width)
}

/// Where the head of the first key of a tile lies, counted from a token's first key or value.
#[cube]
pub(super) fn key_place(tile: &Tile, params: &Params, #[comptime] plan: Plan) -> usize {
    (tile.batch * params.keys + tile.first_key) as usize * comptime!(plan.key_stride())
        + (tile.head / comptime!(plan.group() as u32)) as usize * comptime!(plan.width)
}

/// Scales a thread's scores and adds the biases; those that do not count become [`LOWEST`].
#[cube]
#[allow(clippy::collapsible_if)] // The outer one is decided when the kernel is compiled.
pub(super) fn finish_scores<F: Float>(
    scores: &mut Array<f32>,
    tile: &Tile,
    sources: &Sources<F>,
    slope: f32,
    #[comptime] plan: Plan,
) {
    let (masks, params) = (&sources.masks, &sources.params);
    let (row, column) = place();
    let each = comptime!(plan.each());
    #[unroll]
    for m in 0..each {
        let query = tile.first_query + row + comptime!((m * SIDE) as u32);
        let (first, end) = keys_of(masks, params, tile.batch, query, plan);
        let position = position_of(query, params);
        let mut context = 0i32;
        if comptime!(plan.gap()) {
            context = context_end(masks, params, tile.batch, query, plan);
        }
        #[unroll]
        for n in 0..each {
            let key = tile.first_key + column + comptime!((n * SIDE) as u32);
            let signed = i32::cast_from(key);
            let mut seen = query < params.queries && key < params.keys;
            seen = seen && signed >= first && signed < end;
            if comptime!(plan.gap()) {
                seen = seen && (signed < context || signed == position);
            }
            if comptime!(plan.mask_pad) {
                if seen {
                    seen = masks.mask_pad[(tile.batch * params.keys + key) as usize] == 0;
                }
            }
            let mut score = comptime!(LOWEST).runtime();
            if seen {
                score = scores[m * each + n] * params.scale;
                if comptime!(plan.bias) {
                    score += f32::cast_from(sources.bias[bias_place(tile, params, query, key)]);
                }
                if comptime!(plan.alibi) {
                    let distance = f32::cast_from(signed - position);
                    score -= slope * distance.abs();
                }
            }
            scores[m * each + n] = score;
        }
    }
}

/// Where the bias of a score lies.
#[cube]
pub(super) fn bias_place(tile: &Tile, params: &Params, query: u32, key: u32) -> usize {
    let batch = select(params.bias_batch == 1, 0u32, tile.batch);
    let head = select(params.bias_heads == 1, 0u32, tile.head);
    let row = (batch * params.bias_heads + head) * params.queries + query;
    row as usize * params.keys as usize + key as usize
}

/// What dropout multiplies the weight of a query and key by.
#[cube]
pub(super) fn kept(
    tile: &Tile,
    params: &Params,
    query: u32,
    key: u32,
    #[comptime] plan: Plan,
) -> f32 {
    let row = (tile.batch * comptime!(plan.heads as u32) + tile.head) * params.queries + query;
    let bits = bits(params.seed_low, params.seed_high, row, key);
    select(bits >= params.threshold, params.kept, 0.0f32)
}

/// Makes of a thread's scores the weights after dropout, and of the gradients of those weights the
/// gradients of the scores.
#[cube]
pub(super) fn differentiate(
    scores: &mut Array<f32>,
    gradients: &mut Array<f32>,
    tile: &Tile,
    statistics: &Array<f32>,
    params: &Params,
    #[comptime] plan: Plan,
) {
    let (row, column) = place();
    let each = comptime!(plan.each());
    let heads = comptime!(plan.heads as u32);
    let count = params.batch * heads * params.queries;
    #[unroll]
    for m in 0..each {
        let query = tile.first_query + row + comptime!((m * SIDE) as u32);
        let mut logsumexp = 0.0f32;
        let mut delta = 0.0f32;
        if query < params.queries {
            let place = (tile.batch * heads + tile.head) * params.queries + query;
            logsumexp = statistics[place as usize];
            delta = statistics[(count + place) as usize];
        }
        #[unroll]
        for n in 0..each {
            let score = scores[m * each + n];
            let mut weight = 0.0f32;
            if score > comptime!(LOWEST * 0.5) {
                weight = (score - logsumexp).exp();
            }
            let mut factor = 1.0f32;
            if comptime!(plan.dropout) {
                let key = tile.first_key + column + comptime!((n * SIDE) as u32);
                factor = kept(tile, params, query, key, plan);
            }
            scores[m * each + n] = weight * factor;
            gradients[m * each + n] = weight * (gradients[m * each + n] * factor - delta);
        }
    }
}

/// Puts what a thread has of a tile into shared memory, times `factor`.
#[cube]
pub(super) fn share(shared: &mut Shared, values: &Array<f32>, factor: f32, #[comptime] plan: Plan) {
    let (row, column) = place();
    let each = comptime!(plan.each());
    #[unroll]
    for m in 0..each {
        let start = (row as usize + m * comptime!(SIDE)) * comptime!(plan.tile + 1);
        #[unroll]
        for n in 0..each {
            let place = start + column as usize + n * comptime!(SIDE);
            shared.weights[place] = values[m * each + n] * factor;
        }
    }
    sync_cube();
}
