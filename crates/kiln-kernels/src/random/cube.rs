//! The same bits on a GPU.

use super::{MULTIPLIERS, SEED_MARKS};
use cubecl::prelude::*;

/// What [`bits_of`](super::bits_of) computes of what [`row_keys`](super::row_keys) does.
#[cube]
pub(crate) fn bits(seed_first: u32, seed_second: u32, row: u32, column: u32) -> u32 {
    let first = finish(seed_first ^ comptime!(SEED_MARKS[0]), 0u32);
    let second = finish(seed_second ^ comptime!(SEED_MARKS[1]), 0u32);
    finish(column ^ finish(row ^ first, 0u32), finish(row + second, 0u32))
}

#[cube]
fn finish(x: u32, key: u32) -> u32 {
    let x = x ^ (x >> 17u32);
    let x = x * comptime!(MULTIPLIERS[0]);
    let x = (x ^ (x >> 11u32)) + key;
    let x = x * comptime!(MULTIPLIERS[1]);
    let x = x ^ (x >> 15u32);
    let x = x * comptime!(MULTIPLIERS[2]);
    x ^ (x >> 14u32)
}
