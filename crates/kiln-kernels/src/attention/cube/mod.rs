//! On GPUs: a cube a tile of 16 to 64 queries (or keys), against tiles of keys (or queries) in
//! shared memory. A thread of 16 x 16 computes every 16th score of a tile in both directions and
//! keeps its part of the sums in registers. Tiles that pattern, window and documents mask are not
//! visited.
//!
//! The backward step launches once for each of the three gradients, and once for the bias: each
//! computes the scores again and writes what nobody else does, so that sums have a fixed order.

mod backward;
mod bias;
mod forward;
mod gradients;
mod plan;
mod tile;
mod visible;

pub(super) use backward::backward;
pub(super) use forward::forward;
