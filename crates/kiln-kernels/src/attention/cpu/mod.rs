//! On the CPU: blocks of queries against blocks of keys, only where some query sees some key. A task
//! copies the head it works on out of the packed tensor once, so that it lies in its cache.

mod backward;
mod forward;
mod heads;
mod product;
mod tile;
mod visible;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::kernel::{Attention, Sizes};
use burn_flex::FlexTensor;
use heads::Heads;

use crate::cpu::values;

/// Rows of a tile of scores, at most: a multiple of the rows that a product keeps in registers.
const QUERY_BLOCK: usize = 72;
/// Columns of a tile of scores, at most.
const KEY_BLOCK: usize = 256;
/// Below this many multiplications a task is not worth a thread.
const GRAIN: usize = 256 * 1024;

/// Where queries, keys and values lie.
fn sources<'a>(attention: &Attention, sizes: &Sizes, floats: &'a [FlexTensor]) -> [Heads<'a>; 3] {
    let Sizes { queries, keys, heads, kv_heads, width, .. } = *sizes;
    let of = |index: usize| values::<f32>(&floats[index]);
    match attention.packed {
        Some([heads, kv_heads]) => [0, heads, heads + kv_heads]
            .map(|first| Heads::new(of(0), queries, heads + 2 * kv_heads, first, width)),
        None => [
            Heads::new(of(0), queries, heads, 0, width),
            Heads::new(of(1), keys, kv_heads, 0, width),
            Heads::new(of(2), keys, kv_heads, 0, width),
        ],
    }
}

/// The part of a bias `[batch or 1, heads or 1, queries, keys]` that a head of a batch has: where it
/// starts.
fn bias_start(sizes: &Sizes, [batches, heads]: [usize; 2], batch: usize, head: usize) -> usize {
    let batch = if batches == 1 { 0 } else { batch };
    let head = if heads == 1 { 0 } else { head };
    (batch * heads + head) * sizes.queries * sizes.keys
}
