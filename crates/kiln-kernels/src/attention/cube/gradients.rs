//! The weights of a tile, and the gradients of its scores.

use super::{
    plan::{Masks, Params, Plan, rows_from},
    tile::{Shared, Tile, add_products, differentiate, finish_scores},
};
use cubecl::prelude::*;

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
    masks: &Masks,
    gradient: &Array<F>,
    statistics: &Array<f32>,
    slope: f32,
    params: &Params,
    // Whether the gradients of scores are asked for, or the weights alone.
    #[comptime] with_gradients: bool,
    #[comptime] plan: Plan,
) {
    let query_rows = rows_from(tile.first_query, params.queries, plan);
    let key_rows = rows_from(tile.first_key, params.keys, plan);
    let head_width = comptime!(plan.width);
    let query_token = (tile.batch * params.queries + tile.first_query) as usize;
    let in_query = tile.head as usize * head_width;
    let key_first = (tile.batch * params.keys + tile.first_key) as usize
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
    finish_scores::<F>(scores, tile, bias, masks, slope, params, plan);
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
    differentiate(scores, gradients, tile, statistics, params, plan);
}
