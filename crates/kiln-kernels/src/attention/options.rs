//! What attention can be asked for.

use super::{
    shape::{Attention, AttentionDropout},
    visibility::AttentionVisibility,
};
use crate::Backend;

/// Settings of [`attention`](super::attention) and [`self_attention`](super::self_attention). By
/// default every query attends to every key.
#[derive(Debug, Clone)]
pub struct AttentionOptions<B: Backend> {
    /// Which keys a query attends to, and what is added to the scores.
    pub visibility: AttentionVisibility<B>,
    /// What scores are multiplied by, before biases; by default `1 / sqrt(head_width)`.
    pub scale: Option<f64>,
    /// Heads of keys and of values in a packed tensor: fewer than queries have, each is shared by
    /// neighbouring heads (grouped queries, <https://arxiv.org/abs/2305.13245>). By default as many.
    pub kv_heads: Option<usize>,
    /// Drops attention weights.
    pub dropout: Option<AttentionDropout>,
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
        AttentionVisibility::bidirectional().into()
    }
}

impl<B: Backend> From<AttentionVisibility<B>> for AttentionOptions<B> {
    fn from(visibility: AttentionVisibility<B>) -> Self {
        Self { visibility, scale: None, kv_heads: None, dropout: None }
    }
}

impl<B: Backend> AttentionOptions<B> {
    /// A query attends to itself and to earlier keys.
    pub fn causal() -> Self {
        AttentionVisibility::causal().into()
    }

    /// The kernel for `[batch, queries, keys, heads]`.
    pub(super) fn kernel(
        &self,
        [batch, queries, keys, heads]: [usize; 4],
        width: usize,
        packed: Option<[usize; 2]>,
    ) -> Attention {
        let visibility = &self.visibility;
        if let Some(mask) = &visibility.mask_pad {
            assert_eq!(mask.dims(), [batch, keys], "the padding mask is of [batch, keys]");
        }
        if let Some(bias) = &visibility.bias {
            let [bias_batch, bias_heads, rows, columns] = bias.dims();
            assert!(
                [1, batch].contains(&bias_batch) && [1, heads].contains(&bias_heads),
                "a bias of {bias_batch} x {bias_heads} heads for {batch} x {heads}"
            );
            assert_eq!([rows, columns], [queries, keys], "the bias is of [.., queries, keys]");
        }
        let mut sequences = batch;
        if let Some(documents) = &visibility.documents {
            assert_eq!((batch, queries), (1, keys), "documents are for self-attention in batch 1");
            assert!(documents.dims()[0] > 0, "offsets hold where the last document ends");
            sequences = documents.dims()[0] - 1;
        }
        if let Some(lengths) = visibility.pattern.lengths() {
            assert_eq!(lengths.dims(), [sequences], "a length a sequence, or a document");
        }
        if let Some(dropout) = self.dropout {
            assert!((0.0..1.0).contains(&dropout.p), "dropout of {}", dropout.p);
        }
        assert!(visibility.window != Some(0), "a window holds the token itself");
        Attention {
            packed,
            pattern: visibility.pattern.clone().map(|_| ()),
            window: visibility.window,
            scale: self.scale.unwrap_or(1.0 / (width as f64).sqrt()),
            mask_pad: visibility.mask_pad.is_some(),
            documents: visibility.documents.is_some(),
            bias: visibility.bias.is_some(),
            alibi: visibility.alibi.then(|| alibi_slopes(heads)),
            dropout: self.dropout.filter(|dropout| dropout.p > 0.0),
        }
    }
}
