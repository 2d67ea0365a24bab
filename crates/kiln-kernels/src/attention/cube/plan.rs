//! Settings of compilation and of launch, and the inputs of the kernels.

use super::super::{
    shape::{Attention, Ints, Sizes},
    visibility::AttentionPattern,
};
use crate::cube::{CubeTensors, buffer};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Threads in each direction of a tile.
pub(super) const SIDE: usize = 16;
/// Threads of a cube.
pub(super) const THREADS: u32 = 256;
/// Columns of a head in shared memory at a time.
pub(super) const CHUNK: usize = 32;
/// A row of a chunk; odd, so that a column's values lie in different banks.
pub(super) const CHUNK_STRIDE: usize = CHUNK + 1;

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Queries and keys of a tile.
    pub(super) tile: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
    pub(super) packed: bool,
    pub(super) pattern: AttentionPattern<()>,
    pub(super) window: bool,
    pub(super) mask_pad: bool,
    pub(super) documents: bool,
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
        // Sums of a row are in registers.
        if sizes.width > 256 {
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
            pattern: attention.pattern,
            window: attention.window.is_some(),
            mask_pad: attention.mask_pad,
            documents: attention.documents,
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

    /// Whether the pattern has an end of the keys that a query attends to.
    pub(super) fn ends(&self) -> bool {
        self.pattern != AttentionPattern::Bidirectional
    }

    /// Whether the pattern has a prefix or a context.
    pub(super) fn lengths(&self) -> bool {
        self.pattern.lengths().is_some()
    }

    /// Whether keys between the context and a query's own are masked.
    pub(super) fn gap(&self) -> bool {
        self.pattern == AttentionPattern::Context(())
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
pub(super) struct Params {
    pub(super) batch: u32,
    pub(super) queries: u32,
    pub(super) keys: u32,
    /// Batches and heads of the bias.
    pub(super) bias_batch: u32,
    pub(super) bias_heads: u32,
    /// How many document offsets there are.
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

/// The integers among the [`Sources`]. What there is not is a value that is not read.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Masks {
    /// `[batch, keys]`
    pub(super) mask_pad: Array<i32>,
    /// `[documents + 1]`
    pub(super) documents: Array<i32>,
    /// `[batch or documents]`
    pub(super) lengths: Array<i32>,
}

/// What every kernel over tiles reads.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Sources<F: Float> {
    pub(super) queries: Array<F>,
    pub(super) keys: Array<F>,
    pub(super) values: Array<F>,
    pub(super) bias: Array<F>,
    pub(super) masks: Masks,
    pub(super) params: Params,
}

/// What every kernel of the backward step reads.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Step<F: Float> {
    pub(super) sources: Sources<F>,
    /// Of the output, `[batch, queries, heads, width]`.
    pub(super) gradient: Array<F>,
    /// `[2, batch, heads, queries]`: the log-sum-exp of each row, and the product of its output and
    /// its gradient.
    pub(super) statistics: Array<f32>,
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
    ints: Ints<CubeTensor<R>>,
    /// What stands for integers that there are not.
    none: CubeTensor<R>,
    attention: Attention,
}

/// Launches a kernel over `$count` tiles, a cube each, with what it reads and the arrays it writes.
macro_rules! launch_tiles {
    ($kernel:ident, $inputs:expr, $count:expr, $read:expr, [$($array:expr),*] $(, $flag:expr)?) => {{
        let count: usize = $count;
        $kernel::launch::<R>(
            &$inputs.queries.client,
            crate::cube::cubes(count),
            CubeDim::new_1d($crate::attention::cube::plan::THREADS),
            $read,
            $($array.clone().into_array_arg(),)*
            count,
            $($flag,)?
            $inputs.plan,
            $inputs.slopes(),
            $inputs.queries.dtype.into(),
        )
    }};
}
pub(super) use launch_tiles;

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
        Some(Self {
            keys: source(1),
            values: source(2),
            bias: inputs.floats[if plan.bias { bias } else { 0 }].clone(),
            bias_heads,
            ints: attention.split_ints(inputs.ints.iter().cloned()),
            none: buffer(&queries, [1], DType::I32),
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

    pub(super) fn sources<F: Float>(&self) -> SourcesLaunch<F, R> {
        let [queries, keys, values, bias] = [&self.queries, &self.keys, &self.values, &self.bias]
            .map(|tensor| tensor.clone().into_array_arg());
        let Ints { mask_pad, documents, lengths } = self.ints.clone();
        let [mask_pad, documents, lengths] = [mask_pad, documents, lengths]
            .map(|ints| ints.unwrap_or_else(|| self.none.clone()).into_array_arg());
        let masks = MasksLaunch::new(mask_pad, documents, lengths);
        SourcesLaunch::new(queries, keys, values, bias, masks, self.params())
    }

    pub(super) fn step<F: Float>(
        &self,
        gradient: &CubeTensor<R>,
        statistics: &CubeTensor<R>,
    ) -> StepLaunch<F, R> {
        let [gradient, statistics] =
            [gradient, statistics].map(|tensor| tensor.clone().into_array_arg());
        StepLaunch::new(self.sources(), gradient, statistics)
    }

    pub(super) fn params(&self) -> ParamsLaunch<R> {
        let Sizes { batch, queries, keys, .. } = self.sizes;
        let seed = self.attention.dropout.map_or([0, 0], |dropout| dropout.seed);
        ParamsLaunch::new(
            batch as u32,
            queries as u32,
            keys as u32,
            self.bias_heads[0] as u32,
            self.bias_heads[1] as u32,
            self.ints.documents.as_ref().map_or(0, |ints| ints.meta.num_elements()) as u32,
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

/// The rows of a tile from `first` on.
#[cube]
pub(super) fn rows_from(first: u32, count: u32, #[comptime] plan: Plan) -> u32 {
    let tile = comptime!(plan.tile as u32);
    select(count - first < tile, count - first, tile)
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
