//! Which keys queries attend to, and which queries attend to keys, as ranges.

use super::plan::{Masks, Params, Plan};
use cubecl::prelude::*;

/// The first key that a query attends to and the one after the last; neither decreases from query
/// to query.
#[cube]
pub(super) fn keys_of(
    masks: &Masks,
    params: &Params,
    batch: u32,
    query: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let position = position_of(query, params);
    let (first, end) = in_reach(masks, params, query, position, params.keys, plan);
    let mut end = end;
    if comptime!(plan.ends()) {
        let mut last = position + 1;
        if comptime!(plan.lengths()) {
            last = larger(last, context_end(masks, params, batch, query, plan));
        }
        end = smaller(end, last);
    }
    (first, end)
}

/// The first query that attends to a key and the one after the last, as [`keys_of`]. With a gap
/// between context and own key, some of them may not.
#[cube]
fn queries_of(
    masks: &Masks,
    params: &Params,
    batch: u32,
    key: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let position = own_query(key, params);
    let (first, end) = in_reach(masks, params, key, position, params.queries, plan);
    let mut first = first;
    if comptime!(plan.ends()) {
        let mut least = position;
        if comptime!(plan.lengths()) {
            let context = context_end(masks, params, batch, key, plan);
            least = select(i32::cast_from(key) < context, first, position);
        }
        first = larger(first, least);
    }
    (first, end)
}

/// The keys between which the queries of a tile attend, as the first and the one after the last.
#[cube]
pub(super) fn keys_of_tile(
    masks: &Masks,
    params: &Params,
    batch: u32,
    first_query: u32,
    rows: u32,
    #[comptime] plan: Plan,
) -> (u32, u32) {
    let (first, _) = keys_of(masks, params, batch, first_query, plan);
    let (_, end) = keys_of(masks, params, batch, first_query + rows - 1, plan);
    within(first, end, params.keys)
}

/// The queries between which some attend to the keys of a tile, as [`keys_of_tile`].
#[cube]
pub(super) fn queries_of_tile(
    masks: &Masks,
    params: &Params,
    batch: u32,
    first_key: u32,
    rows: u32,
    #[comptime] plan: Plan,
) -> (u32, u32) {
    let last_key = first_key + rows - 1;
    let (first, _) = queries_of(masks, params, batch, first_key, plan);
    let (_, end) = queries_of(masks, params, batch, last_key, plan);
    let mut end = end;
    if comptime!(plan.gap()) {
        // Keys of one sequence, all behind its context: each has its own query.
        let context = context_end(masks, params, batch, first_key, plan);
        let behind = i32::cast_from(first_key) >= context;
        if behind && context == context_end(masks, params, batch, last_key, plan) {
            end = smaller(end, own_query(last_key, params) + 1);
        }
    }
    within(first, end, params.queries)
}

/// The query at the position of a key.
#[cube]
fn own_query(key: u32, params: &Params) -> i32 {
    i32::cast_from(key) + i32::cast_from(params.queries) - i32::cast_from(params.keys)
}

/// The position of a query among the keys.
#[cube]
pub(super) fn position_of(query: u32, params: &Params) -> i32 {
    i32::cast_from(query) + i32::cast_from(params.keys) - i32::cast_from(params.queries)
}

/// Where the prefix or context of a token's sequence ends.
#[cube]
pub(super) fn context_end(
    masks: &Masks,
    params: &Params,
    batch: u32,
    token: u32,
    #[comptime] plan: Plan,
) -> i32 {
    let mut start = 0i32;
    let mut number = batch;
    if comptime!(plan.documents) {
        let offset = offset_before(&masks.documents, params.offsets, token);
        start = masks.documents[offset as usize];
        number = select(offset + 1 < params.offsets, offset, 0u32);
    }
    let length = smaller(masks.lengths[number as usize], i32::cast_from(params.keys));
    start + larger(length, 0i32)
}

/// Skips whole tiles of keys that the queries from `first_query` to `last_query` do not attend to:
/// those between their context and their own keys.
#[cube]
pub(super) fn skip_gap(
    first_key: u32,
    masks: &Masks,
    params: &Params,
    batch: u32,
    first_query: u32,
    last_query: u32,
    #[comptime] plan: Plan,
) -> u32 {
    let mut next = first_key;
    if comptime!(plan.gap()) {
        let key = i32::cast_from(first_key);
        let own = position_of(first_query, params);
        if key >= context_end(masks, params, batch, last_query, plan) && key < own {
            let tile = comptime!(plan.tile as u32);
            next += u32::cast_from(own - key) / tile * tile;
        }
    }
    next
}

/// What document and window leave of `count` rows for one at `position` among them, whose own number
/// is `index`: the first and the one after the last.
#[cube]
fn in_reach(
    masks: &Masks,
    params: &Params,
    index: u32,
    position: i32,
    count: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let mut first = 0i32;
    let mut end = i32::cast_from(count);
    if comptime!(plan.documents) {
        let (start, stop) = document_of(&masks.documents, params.offsets, index);
        first = start;
        end = stop;
    }
    if comptime!(plan.window) {
        let window = i32::cast_from(params.window);
        first = larger(first, position - window + 1);
        end = smaller(end, position + window);
    }
    (first, end)
}

/// A range as it lies within `count`.
#[cube]
fn within(first: i32, end: i32, count: u32) -> (u32, u32) {
    let first = select(first > 0i32, u32::cast_from(first), 0u32);
    let end = select(end > 0i32, u32::cast_from(end), 0u32);
    (first, select(end < count, end, count))
}

/// Where the document of a token starts and ends: an empty one before the first and after the last.
#[cube]
fn document_of(offsets: &Array<i32>, count: u32, token: u32) -> (i32, i32) {
    let passed = offsets_passed(offsets, count, token);
    let before = select(passed > 0, passed, 1u32) - 1;
    let after = select(passed < count, passed, count - 1);
    (offsets[before as usize], offsets[after as usize])
}

/// The last offset at or before a token; the first where there is none.
#[cube]
fn offset_before(offsets: &Array<i32>, count: u32, token: u32) -> u32 {
    let passed = offsets_passed(offsets, count, token);
    select(passed > 0, passed, 1u32) - 1
}

/// How many offsets are at or before a token.
#[cube]
fn offsets_passed(offsets: &Array<i32>, count: u32, token: u32) -> u32 {
    let token = i32::cast_from(token);
    let mut low = 0u32;
    let mut high = count;
    while low < high {
        let middle = (low + high) / 2;
        if offsets[middle as usize] <= token {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cube]
fn larger(a: i32, b: i32) -> i32 {
    select(a > b, a, b)
}

#[cube]
fn smaller(a: i32, b: i32) -> i32 {
    select(a < b, a, b)
}
