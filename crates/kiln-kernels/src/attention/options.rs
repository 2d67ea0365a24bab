//! What attention can be asked for.

use super::kernel::Attention;
use crate::Backend;
use burn::tensor::{Bool, Int, Tensor};

/// Settings of [`attention`](super::attention) and [`self_attention`](super::self_attention). By
/// default every query sees every key.
#[derive(Debug, Clone)]
pub struct AttentionOptions<B: Backend> {
    /// A query sees no later key.
    pub causal: bool,
    /// A query sees only keys less than this many positions away: itself and the `window - 1`
    /// before it, and, where not causal, as many after it.
    pub window: Option<usize>,
    /// What scores are multiplied by, before biases; by default `1 / sqrt(head_width)`.
    pub scale: Option<f64>,
    /// Heads of keys and of values in a packed tensor: fewer than queries have, each is shared by
    /// neighbouring heads (grouped queries, <https://arxiv.org/abs/2305.13245>). By default as many.
    pub kv_heads: Option<usize>,
    /// Keys that no query sees (true): `[batch, keys]`.
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// Added to the scores: `[batch or 1, heads or 1, queries, keys]`. Gradients flow to it.
    pub bias: Option<Tensor<B, 4>>,
    /// A slope a head: `-slope * |query - key|` is added to the scores, which is
    /// `slope * (key - query)` of the paper where causal (<https://arxiv.org/abs/2108.12409>).
    /// [`alibi_slopes`] gives the paper's.
    pub alibi: Option<Vec<f32>>,
    /// Drops attention weights.
    pub dropout: Option<AttentionDropout>,
    /// Sequences one after the other in one row of the batch: where each starts, and where the
    /// last ends, ascending: `[sequences + 1]`. Tokens attend within their sequence; tokens in
    /// none see nothing. The batch is 1, and there are as many queries as keys.
    pub offsets: Option<Tensor<B, 1, Int>>,
}

/// Dropout of attention weights, after the softmax; those kept are scaled by `1 / (1 - p)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionDropout {
    /// The probability of each weight to be dropped, below 1.
    pub p: f64,
    /// The same seed drops the same weights; take a new one each step and layer.
    pub seed: [u32; 2],
}

/// The slopes of <https://arxiv.org/abs/2108.12409>: a geometric sequence that ends at `2⁻⁸`; where
/// `heads` is no power of two, every other slope of the next sequence follows.
pub fn alibi_slopes(heads: usize) -> Vec<f32> {
    let sequence = |count: usize, step: usize| {
        (1..=count).step_by(step).map(move |head| (-8.0 * head as f32 / count as f32).exp2())
    };
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    sequence(power, 1).chain(sequence(2 * power, 2)).take(heads).collect()
}

impl<B: Backend> Default for AttentionOptions<B> {
    fn default() -> Self {
        Self {
            causal: false,
            window: None,
            scale: None,
            kv_heads: None,
            mask_pad: None,
            bias: None,
            alibi: None,
            dropout: None,
            offsets: None,
        }
    }
}

impl<B: Backend> AttentionOptions<B> {
    /// A query sees no later key.
    pub fn causal() -> Self {
        Self { causal: true, ..Self::default() }
    }

    /// The kernel for `[batch, queries, keys, heads]`.
    pub(super) fn kernel(
        &self,
        [batch, queries, keys, heads]: [usize; 4],
        width: usize,
        packed: Option<[usize; 2]>,
    ) -> Attention {
        if let Some(mask) = &self.mask_pad {
            assert_eq!(mask.dims(), [batch, keys], "the padding mask is of [batch, keys]");
        }
        if let Some(bias) = &self.bias {
            let [bias_batch, bias_heads, rows, columns] = bias.dims();
            assert!(
                [1, batch].contains(&bias_batch) && [1, heads].contains(&bias_heads),
                "a bias of {bias_batch} x {bias_heads} heads for {batch} x {heads}"
            );
            assert_eq!([rows, columns], [queries, keys], "the bias is of [.., queries, keys]");
        }
        if let Some(slopes) = &self.alibi {
            assert_eq!(slopes.len(), heads, "a slope a head");
        }
        if let Some(offsets) = &self.offsets {
            assert_eq!((batch, queries), (1, keys), "offsets are for self-attention in batch 1");
            assert!(offsets.dims()[0] > 0, "offsets hold where the last sequence ends");
        }
        if let Some(dropout) = self.dropout {
            assert!((0.0..1.0).contains(&dropout.p), "dropout of {}", dropout.p);
        }
        assert!(self.window != Some(0), "a window holds the token itself");
        Attention {
            packed,
            causal: self.causal,
            window: self.window,
            scale: self.scale.unwrap_or(1.0 / (width as f64).sqrt()),
            mask_pad: self.mask_pad.is_some(),
            offsets: self.offsets.is_some(),
            bias: self.bias.is_some(),
            alibi: self.alibi.clone(),
            dropout: self.dropout.filter(|dropout| dropout.p > 0.0),
        }
    }
}
