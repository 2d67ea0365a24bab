//! Fused attention (FlashAttention) in tiles, <https://arxiv.org/abs/2205.14135>,
//! <https://arxiv.org/abs/2307.08691>: the scores are never stored, so memory is linear in the
//! length.
//!
//! Kept for the backward step: the inputs, the output, and one log-sum-exp a row and head; the
//! scores are computed again. Unlike the papers, scores may have a bias with a gradient, rows may
//! attend to nothing (they give zeros), and dropout is replayed from a hash of seed, row and
//! column.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod kernel;
mod options;
mod reference;
mod shape;
#[cfg(test)]
mod tests;
mod visibility;

pub use options::{AttentionOptions, alibi_slopes};
pub use shape::AttentionDropout;
pub use visibility::{AttentionPattern, AttentionVisibility};

use crate::{
    Backend, Tensors,
    plain::{primitive, record},
};
use burn::tensor::Tensor;
use shape::Attention;

/// Attention of a sequence to itself: `softmax(queries keysᵀ scale + biases) values` for each head.
///
/// Queries, keys and values come as one projection writes them, and the gradient is one tensor of
/// the same layout: nothing is transposed or copied.
///
/// # Shapes
/// - packed: `[batch, tokens, heads + 2 kv_heads, head_width]`: the heads of the queries, then of
///   the keys, then of the values
/// - result: `[batch, tokens, heads, head_width]`
///
/// # Panics
/// When the heads of `packed` cannot be divided as `options.kv_heads` says (by default in three
/// equal parts), or a tensor or number of the options does not fit.
pub fn self_attention<B: Backend>(
    packed: Tensor<B, 4>,
    options: AttentionOptions<B>,
) -> Tensor<B, 4> {
    let [batch, tokens, total, width] = packed.dims();
    let kv_heads = options.kv_heads.unwrap_or(total / 3);
    assert!(
        kv_heads > 0 && total > 2 * kv_heads,
        "{total} packed heads do not hold {kv_heads} heads of keys and of values"
    );
    let heads = total - 2 * kv_heads;
    assert!(
        heads.is_multiple_of(kv_heads),
        "{heads} heads of queries are no multiple of {kv_heads} heads of keys"
    );
    let kernel = options.kernel([batch, tokens, tokens, heads], width, Some([heads, kv_heads]));
    call(kernel, vec![packed], options)
}

/// Attention of queries to keys and values from elsewhere: cross-attention, or a cache.
///
/// With fewer queries than keys, pattern, window and ALiBi take the queries for the last positions.
///
/// # Shapes
/// - queries: `[batch, queries, heads, head_width]`, and so the result
/// - keys, values: `[batch, keys, kv_heads, head_width]`, heads a multiple of kv_heads
///
/// # Panics
/// When the shapes do not fit each other or the options.
pub fn attention<B: Backend>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
    options: AttentionOptions<B>,
) -> Tensor<B, 4> {
    let [batch, count, heads, width] = queries.dims();
    let [key_batch, key_count, kv_heads, key_width] = keys.dims();
    assert_eq!(keys.dims(), values.dims(), "keys and values differ in shape");
    assert_eq!((batch, width), (key_batch, key_width), "queries and keys: batch and head width");
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "{heads} heads of queries are no multiple of {kv_heads} heads of keys"
    );
    assert!(
        options.kv_heads.is_none_or(|expected| expected == kv_heads),
        "the keys have {kv_heads} heads, the options say {:?}",
        options.kv_heads
    );
    let kernel = options.kernel([batch, count, key_count, heads], width, None);
    call(kernel, vec![queries, keys, values], options)
}

fn call<B: Backend>(
    kernel: Attention,
    sources: Vec<Tensor<B, 4>>,
    options: AttentionOptions<B>,
) -> Tensor<B, 4> {
    let AttentionVisibility { pattern, documents, mask_pad, bias, .. } = options.visibility;
    let floats = sources.into_iter().chain(bias).map(primitive);
    let mask = mask_pad.map(|mask| mask.int().into_primitive());
    let offsets = [documents, pattern.lengths().cloned()].into_iter().flatten();
    let offsets = offsets.map(|offsets| offsets.into_primitive());
    record(&kernel, Tensors::floats(floats).with_ints(mask.into_iter().chain(offsets)))
}
