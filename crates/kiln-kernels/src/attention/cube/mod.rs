//! On GPUs: a cube a tile of 16 to 64 queries (or keys), against tiles of keys (or queries) in
//! shared memory. A thread of 16 x 16 computes every 16th score of a tile in both directions and
//! keeps its part of the sums in registers. Tiles that causality, window and sequences hide are
//! not visited.
//!
//! The backward step launches once for each of the three gradients, and once for the bias: each
//! computes the scores again and writes what nobody else does, so that sums have a fixed order.

mod backward;
mod bias;
mod forward;
mod plan;
mod tile;

pub(super) use backward::backward;
pub(super) use forward::forward;

/// Threads in each direction of a tile.
const SIDE: usize = 16;
/// Threads of a cube.
const THREADS: u32 = 256;
/// Columns of a head in shared memory at a time.
const CHUNK: usize = 32;
/// A row of a chunk; odd, so that a column's values lie in different banks.
const CHUNK_STRIDE: usize = CHUNK + 1;
/// What hidden scores count as. Finite: not every GPU has infinities.
const LOW: f32 = -1e38;
