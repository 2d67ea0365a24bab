//! What the kernels are: their settings, their inputs, and how large everything is.

use super::visibility::AttentionPattern;
use crate::random;
use burn::tensor::Shape;

/// The forward step. Floats: the sources (one packed tensor, or queries, keys and values), and the
/// bias if there is one. Integers: see [`Ints`]. Outputs: the result; the log-sum-exp of each row's
/// scores, `[batch, heads, queries]`, zero for rows that attend to nothing.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    /// Heads of queries and of keys, where the sources are packed.
    pub(super) packed: Option<[usize; 2]>,
    pub(super) pattern: AttentionPattern<()>,
    pub(super) window: Option<usize>,
    pub(super) scale: f64,
    pub(super) mask_pad: bool,
    pub(super) documents: bool,
    pub(super) bias: bool,
    pub(super) alibi: Option<Vec<f32>>,
    pub(super) dropout: Option<AttentionDropout>,
}

/// The backward step. Floats: those of the forward step, its two outputs, the gradient. Outputs:
/// the gradients of the sources, then of the bias, those that are asked for.
#[derive(Debug, Clone)]
pub(super) struct AttentionBackward {
    pub(super) attention: Attention,
    /// The queries' gradient; where packed, that of the packed tensor.
    pub(super) queries: bool,
    /// The keys' and the values' gradients.
    pub(super) keys: bool,
    pub(super) bias: bool,
}

/// Dropout of attention weights, after the softmax; those kept are scaled by `1 / (1 - p)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionDropout {
    /// The probability of each weight to be dropped, below 1.
    pub p: f64,
    /// The same seed drops the same weights; take a new one each step and layer.
    pub seed: [u32; 2],
}

/// Batch size, lengths, heads and head width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
}

/// The integer inputs, in their order, each where there is one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ints<T> {
    /// `[batch, keys]`, not zero for padding.
    pub(super) mask_pad: Option<T>,
    /// Document offsets, `[documents + 1]`.
    pub(super) documents: Option<T>,
    /// The lengths of the pattern, `[batch or documents]`.
    pub(super) lengths: Option<T>,
}

impl Sizes {
    /// Heads of queries that share a head of keys.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// The position of the first query among the keys.
    pub(super) fn shift(&self) -> isize {
        self.keys as isize - self.queries as isize
    }
}

impl Attention {
    /// How many float inputs the sources are.
    pub(super) fn sources(&self) -> usize {
        if self.packed.is_some() { 1 } else { 3 }
    }

    pub(super) fn sizes(&self, floats: &[Shape]) -> Sizes {
        let [batch, queries, total, width] = std::array::from_fn(|axis| floats[0][axis]);
        match self.packed {
            Some([heads, kv_heads]) => {
                Sizes { batch, queries, keys: queries, heads, kv_heads, width }
            }
            None => {
                let (keys, kv_heads) = (floats[1][1], floats[1][2]);
                Sizes { batch, queries, keys, heads: total, kv_heads, width }
            }
        }
    }

    /// The integers by name.
    pub(super) fn split_ints<T>(&self, ints: impl IntoIterator<Item = T>) -> Ints<T> {
        let mut ints = ints.into_iter();
        let mut next = |asked: bool| if asked { ints.next() } else { None };
        Ints {
            mask_pad: next(self.mask_pad),
            documents: next(self.documents),
            lengths: next(self.pattern.lengths().is_some()),
        }
    }
}

impl AttentionDropout {
    /// Weights whose random bits are below are dropped.
    pub(super) fn threshold(&self) -> u32 {
        random::threshold(self.p)
    }

    /// What kept weights are multiplied by.
    pub(super) fn scale(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }
}
