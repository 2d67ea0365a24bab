//! The weights of a tile, and the gradients of its scores.

use super::{
    plan::{Plan, Step, rows_from},
    tile::{Shared, Tile, add_products, differentiate, finish_scores, key_place, query_place},
};
use crate::cube::zeros;
use cubecl::prelude::*;

/// The weights of a tile after dropout, and the gradients of its scores.
#[cube]
pub(super) fn tile_gradients<F: Float>(
    shared: &mut Shared,
    tile: &Tile,
    step: &Step<F>,
    slope: f32,
    // Whether the gradients of scores are asked for, or the weights alone.
    #[comptime] with_gradients: bool,
    #[comptime] plan: Plan,
) -> (Array<f32>, Array<f32>) {
    let sources = &step.sources;
    let params = &sources.params;
    let mut scores = zeros(comptime!(plan.each() * plan.each()));
    let mut gradients = zeros(comptime!(plan.each() * plan.each()));
    let query_rows = rows_from(tile.first_query, params.queries, plan);
    let key_rows = rows_from(tile.first_key, params.keys, plan);
    let key_first = key_place(tile, params, plan);
    add_products::<F>(
        &mut scores,
        shared,
        &sources.queries,
        query_place(tile, params, comptime!(plan.query_stride()), plan),
        comptime!(plan.query_stride()),
        query_rows,
        &sources.keys,
        key_first + comptime!(plan.key_first()),
        comptime!(plan.key_stride()),
        key_rows,
        plan,
    );
    finish_scores::<F>(&mut scores, tile, sources, slope, plan);
    if with_gradients {
        add_products::<F>(
            &mut gradients,
            shared,
            &step.gradient,
            query_place(tile, params, comptime!(plan.out_stride()), plan),
            comptime!(plan.out_stride()),
            query_rows,
            &sources.values,
            key_first + comptime!(plan.value_first()),
            comptime!(plan.key_stride()),
            key_rows,
            plan,
        );
    }
    differentiate(&mut scores, &mut gradients, tile, &step.statistics, params, plan);
    (scores, gradients)
}
