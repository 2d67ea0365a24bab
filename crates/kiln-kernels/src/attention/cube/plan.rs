//! What is fixed when kernels are compiled, what when they are launched, and what sees what.

use super::{
    super::kernel::{Attention, Sizes},
    CHUNK, CHUNK_STRIDE, SIDE,
};
use crate::cube::{CubeTensors, room};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Queries and keys of a tile.
    pub(super) tile: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
    pub(super) packed: bool,
    pub(super) causal: bool,
    pub(super) window: bool,
    pub(super) mask_pad: bool,
    pub(super) offsets: bool,
    pub(super) bias: bool,
    pub(super) alibi: bool,
    pub(super) dropout: bool,
}

impl Plan {
    /// None where the kernels do not cover it.
    pub(super) fn new<R: CubeRuntime>(
        attention: &Attention,
        sizes: &Sizes,
        like: &CubeTensor<R>,
    ) -> Option<Self> {
        // One buffer of integers; sums of a row in registers.
        if (attention.mask_pad && attention.offsets) || sizes.width > 256 {
            return None;
        }
        let memory = like.client.properties().hardware.max_shared_memory_size;
        let longest = sizes.queries.max(sizes.keys);
        let fits = |tile: usize| Self::memory(tile) * size_of::<f32>() <= memory;
        let tile = match longest {
            ..=16 => 16,
            33.. if sizes.width <= 128 && fits(64) => 64,
            _ => 32,
        };
        Some(Self {
            tile,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            width: sizes.width,
            packed: attention.packed.is_some(),
            causal: attention.causal,
            window: attention.window.is_some(),
            mask_pad: attention.mask_pad,
            offsets: attention.offsets,
            bias: attention.bias,
            alibi: attention.alibi.is_some(),
            dropout: attention.dropout.is_some(),
        })
    }

    /// Values in shared memory: two chunks of rows, and the weights of a tile.
    fn memory(tile: usize) -> usize {
        2 * tile * CHUNK_STRIDE + tile * (tile + 1)
    }

    /// Scores of a thread in each direction.
    pub(super) fn each(&self) -> usize {
        self.tile / SIDE
    }

    pub(super) fn chunks(&self) -> usize {
        self.width.div_ceil(CHUNK)
    }

    /// Columns of a thread.
    pub(super) fn columns(&self) -> usize {
        self.chunks() * (CHUNK / SIDE)
    }

    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// From a token to the next, of queries, keys and values.
    pub(super) fn query_stride(&self) -> usize {
        let heads = if self.packed { self.heads + 2 * self.kv_heads } else { self.heads };
        heads * self.width
    }

    pub(super) fn key_stride(&self) -> usize {
        if self.packed { self.query_stride() } else { self.kv_heads * self.width }
    }

    /// From a token to the next, of outputs.
    pub(super) fn out_stride(&self) -> usize {
        self.heads * self.width
    }

    /// Where the first key of a token lies, and its first value.
    pub(super) fn key_first(&self) -> usize {
        if self.packed { self.heads * self.width } else { 0 }
    }

    pub(super) fn value_first(&self) -> usize {
        if self.packed { (self.heads + self.kv_heads) * self.width } else { 0 }
    }
}

/// What the kernels are launched with.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) batch: u32,
    pub(super) queries: u32,
    pub(super) keys: u32,
    /// Batches and heads of the bias.
    pub(super) bias_batch: u32,
    pub(super) bias_heads: u32,
    /// How many offsets there are.
    pub(super) offsets: u32,
    pub(super) window: u32,
    pub(super) scale: f32,
    pub(super) seed_low: u32,
    pub(super) seed_high: u32,
    /// Below this random number a weight is dropped.
    pub(super) threshold: u32,
    /// What kept weights are multiplied by.
    pub(super) kept: f32,
}

/// The inputs by name. What there is not is another tensor, which is not read.
pub(super) struct Inputs<R: CubeRuntime> {
    pub(super) plan: Plan,
    pub(super) sizes: Sizes,
    pub(super) queries: CubeTensor<R>,
    pub(super) keys: CubeTensor<R>,
    pub(super) values: CubeTensor<R>,
    pub(super) bias: CubeTensor<R>,
    pub(super) bias_heads: [usize; 2],
    /// The padding mask or the offsets.
    pub(super) ints: CubeTensor<R>,
    attention: Attention,
}

impl<R: CubeRuntime> Inputs<R> {
    pub(super) fn new(attention: &Attention, inputs: &CubeTensors<R>) -> Option<Self> {
        let shapes: Vec<_> =
            inputs.floats.iter().map(|tensor| tensor.meta.shape().clone()).collect();
        let sizes = attention.sizes(&shapes);
        let queries = inputs.floats[0].clone();
        let plan = Plan::new(attention, &sizes, &queries)?;
        let source = |index: usize| inputs.floats[if plan.packed { 0 } else { index }].clone();
        let bias = attention.sources();
        let bias_heads = if plan.bias { [shapes[bias][0], shapes[bias][1]] } else { [1, 1] };
        let ints = inputs.ints.first().cloned();
        Some(Self {
            keys: source(1),
            values: source(2),
            bias: inputs.floats[if plan.bias { bias } else { 0 }].clone(),
            bias_heads,
            ints: ints.unwrap_or_else(|| room(&queries, [1], DType::I32)),
            attention: attention.clone(),
            plan,
            sizes,
            queries,
        })
    }

    /// The bits of the slopes.
    pub(super) fn slopes(&self) -> Vec<u32> {
        self.attention.alibi.iter().flatten().map(|slope| slope.to_bits()).collect()
    }

    pub(super) fn numbers(&self) -> NumbersLaunch<R> {
        let Sizes { batch, queries, keys, .. } = self.sizes;
        let seed = self.attention.dropout.map_or([0, 0], |dropout| dropout.seed);
        NumbersLaunch::new(
            batch as u32,
            queries as u32,
            keys as u32,
            self.bias_heads[0] as u32,
            self.bias_heads[1] as u32,
            self.ints.meta.num_elements() as u32,
            // A window beyond every key is one of all keys.
            self.attention.window.map_or(0, |window| window.min(queries + keys)) as u32,
            self.attention.scale as f32,
            seed[0],
            seed[1],
            self.attention.dropout.map_or(0, |dropout| dropout.threshold()),
            self.attention.dropout.map_or(1.0, |dropout| dropout.scale() as f32),
        )
    }
}

/// The first key that a query sees and the one after the last; neither decreases from query to
/// query.
#[cube]
pub(super) fn keys_of(
    ints: &Array<i32>,
    numbers: &Numbers,
    query: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let position =
        i32::cast_from(query) + i32::cast_from(numbers.keys) - i32::cast_from(numbers.queries);
    let (first, end) = in_reach(ints, numbers, query, position, numbers.keys, plan);
    let mut end = end;
    if comptime!(plan.causal) {
        end = smaller(end, position + 1);
    }
    (first, end)
}

/// The first query that sees a key and the one after the last, as [`keys_of`].
#[cube]
pub(super) fn queries_of(
    ints: &Array<i32>,
    numbers: &Numbers,
    key: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let position =
        i32::cast_from(key) + i32::cast_from(numbers.queries) - i32::cast_from(numbers.keys);
    let (first, end) = in_reach(ints, numbers, key, position, numbers.queries, plan);
    let mut first = first;
    if comptime!(plan.causal) {
        first = larger(first, position);
    }
    (first, end)
}

/// What the sequence and the window leave of `count` rows for one at `position` among them, whose
/// own number is `index`: the first and the one after the last.
#[cube]
fn in_reach(
    ints: &Array<i32>,
    numbers: &Numbers,
    index: u32,
    position: i32,
    count: u32,
    #[comptime] plan: Plan,
) -> (i32, i32) {
    let mut first = 0i32;
    let mut end = i32::cast_from(count);
    if comptime!(plan.offsets) {
        let (start, stop) = sequence_of(ints, numbers.offsets, index);
        first = start;
        end = stop;
    }
    if comptime!(plan.window) {
        let window = i32::cast_from(numbers.window);
        first = larger(first, position - window + 1);
        end = smaller(end, position + window);
    }
    (first, end)
}

/// The rows of a tile from `first` on.
#[cube]
pub(super) fn rows_from(first: u32, count: u32, #[comptime] plan: Plan) -> u32 {
    let tile = comptime!(plan.tile as u32);
    select(count - first < tile, count - first, tile)
}

/// A range as it lies within `count`.
#[cube]
pub(super) fn within(first: i32, end: i32, count: u32) -> (u32, u32) {
    let first = select(first > 0i32, u32::cast_from(first), 0u32);
    let end = select(end > 0i32, u32::cast_from(end), 0u32);
    (first, select(end < count, end, count))
}

/// Where the sequence of a token starts and ends: an empty one before the first and after the last.
#[cube]
fn sequence_of(offsets: &Array<i32>, count: u32, token: u32) -> (i32, i32) {
    let token = i32::cast_from(token);
    // How many offsets are at or before the token.
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
    let before = select(low > 0, low, 1u32) - 1;
    let after = select(low < count, low, count - 1);
    (offsets[before as usize], offsets[after as usize])
}

#[cube]
fn larger(a: i32, b: i32) -> i32 {
    select(a > b, a, b)
}

#[cube]
fn smaller(a: i32, b: i32) -> i32 {
    select(a < b, a, b)
}

/// The slope of a head.
#[cube]
#[allow(clippy::needless_range_loop)] // The loop is unrolled; it cannot be over a slice.
pub(super) fn slope_of(head: u32, #[comptime] slopes: Vec<u32>) -> f32 {
    let mut slope = 0.0f32;
    #[unroll]
    for index in 0..comptime!(slopes.len()) {
        if head == comptime!(index as u32) {
            slope = comptime!(f32::from_bits(slopes[index])).runtime();
        }
    }
    slope
}
