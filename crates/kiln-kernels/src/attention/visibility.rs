//! Attention visibility: which keys a query attends to, and what is added to its scores.

use crate::MASK_VALUE;
use burn::tensor::{Bool, FloatDType, Int, Tensor, backend::Backend};

/// Attention visibility: which keys each query attends to, and what is added to the scores.
///
/// A query attends to a key where pattern, window, documents and padding all let it. With fewer
/// queries than keys, as with a KV cache, the queries are the last positions.
#[derive(Debug, Clone)]
pub struct AttentionVisibility<B: Backend> {
    /// Which keys of its sequence a query attends to.
    pub pattern: AttentionPattern<Tensor<B, 1, Int>>,
    /// Sliding window: a query attends only to keys less than this many positions away, itself and
    /// the `window - 1` before it, and as many after it where the pattern has any.
    pub window: Option<usize>,
    /// Packed sequences: several documents one after the other in a batch of one. Offsets at which
    /// each starts, and where the last ends, ascending: `[documents + 1]`. Tokens attend within
    /// their document; tokens in none attend to nothing. There are as many queries as keys.
    pub documents: Option<Tensor<B, 1, Int>>,
    /// Padding mask, `[batch, keys]`: keys that no query attends to (true).
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// Attention bias, added to the scores: `[batch or 1, heads or 1, queries, keys]`. Gradients
    /// flow to it.
    pub bias: Option<Tensor<B, 4>>,
    /// ALiBi (<https://arxiv.org/abs/2108.12409>): `-slope * |query - key|` is added to the scores,
    /// with the slopes of [`alibi_slopes`](crate::alibi_slopes).
    pub alibi: bool,
}

/// Which keys of its sequence a query attends to. `L` holds the lengths, one a sequence: `[batch]`,
/// or `[documents]` where several documents are packed. They count positions, padding included;
/// those below zero are zero, those past the sequence end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionPattern<L> {
    /// All keys.
    Bidirectional,
    /// Itself and earlier keys.
    Causal,
    /// Prefix LM (T5, <https://arxiv.org/abs/1910.10683>, section 3.2.1): itself, earlier keys, and
    /// the first `lengths` keys of the sequence.
    Prefix(L),
    /// In-context learning on tables: the first `lengths` keys of the sequence, and itself; test
    /// rows attend to training rows, and not to each other.
    Context(L),
}

impl<L> AttentionPattern<L> {
    /// The lengths of prefix or context.
    pub fn lengths(&self) -> Option<&L> {
        match self {
            Self::Bidirectional | Self::Causal => None,
            Self::Prefix(lengths) | Self::Context(lengths) => Some(lengths),
        }
    }

    /// The same pattern with other lengths.
    #[must_use]
    pub fn map<M>(self, change: impl FnOnce(L) -> M) -> AttentionPattern<M> {
        match self {
            Self::Bidirectional => AttentionPattern::Bidirectional,
            Self::Causal => AttentionPattern::Causal,
            Self::Prefix(lengths) => AttentionPattern::Prefix(change(lengths)),
            Self::Context(lengths) => AttentionPattern::Context(change(lengths)),
        }
    }
}

impl<B: Backend> Default for AttentionVisibility<B> {
    fn default() -> Self {
        Self::bidirectional()
    }
}

impl<B: Backend> AttentionVisibility<B> {
    /// A pattern alone.
    pub fn new(pattern: AttentionPattern<Tensor<B, 1, Int>>) -> Self {
        Self { pattern, window: None, documents: None, mask_pad: None, bias: None, alibi: false }
    }

    /// Every query attends to every key.
    pub fn bidirectional() -> Self {
        Self::new(AttentionPattern::Bidirectional)
    }

    /// A query attends to itself and to earlier keys.
    pub fn causal() -> Self {
        Self::new(AttentionPattern::Causal)
    }

    /// Causal or bidirectional.
    pub fn causal_if(causal: bool) -> Self {
        if causal { Self::causal() } else { Self::bidirectional() }
    }

    /// Prefix LM: causal, but for the first `lengths` tokens, `[batch]`, that all attend to.
    pub fn prefix(lengths: Tensor<B, 1, Int>) -> Self {
        Self::new(AttentionPattern::Prefix(lengths))
    }

    /// A query attends to the first `lengths` tokens, `[batch]`, and to itself.
    pub fn context(lengths: Tensor<B, 1, Int>) -> Self {
        Self::new(AttentionPattern::Context(lengths))
    }

    /// With a sliding window.
    #[must_use]
    pub fn with_window(self, window: impl Into<Option<usize>>) -> Self {
        Self { window: window.into(), ..self }
    }

    /// With documents in a row, by their offsets, `[documents + 1]`.
    #[must_use]
    pub fn with_documents(self, documents: impl Into<Option<Tensor<B, 1, Int>>>) -> Self {
        Self { documents: documents.into(), ..self }
    }

    /// With a padding mask, `[batch, keys]`.
    #[must_use]
    pub fn with_mask_pad(self, mask_pad: impl Into<Option<Tensor<B, 2, Bool>>>) -> Self {
        Self { mask_pad: mask_pad.into(), ..self }
    }

    /// With an attention bias, `[batch or 1, heads or 1, queries, keys]`, besides the one there is.
    #[must_use]
    pub fn add_bias(self, bias: impl Into<Option<Tensor<B, 4>>>) -> Self {
        let bias = match (self.bias, bias.into()) {
            (Some(one), Some(other)) => {
                let other = other.cast(FloatDType::from(one.dtype()));
                Some(one + other)
            }
            (one, other) => one.or(other),
        };
        Self { bias, ..self }
    }

    /// With ALiBi.
    #[must_use]
    pub fn with_alibi(self, alibi: bool) -> Self {
        Self { alibi, ..self }
    }

    /// Whether no query attends to a later key.
    pub fn is_causal(&self) -> bool {
        matches!(self.pattern, AttentionPattern::Causal)
    }

    /// Pattern, window and documents as a part of the bias, in memory. Padding stays a mask.
    #[must_use]
    pub fn into_bias(mut self, [queries, keys]: [usize; 2], device: &B::Device) -> Self {
        let mask_pad = self.mask_pad.take();
        let mask = self.mask([queries, keys], device).float().mul_scalar(MASK_VALUE);
        let Self { bias, alibi, .. } = self;
        Self { bias, alibi, mask_pad, ..Self::bidirectional() }.add_bias(mask)
    }

    /// The attention mask, `[batch or 1, 1, queries, keys]`: true where a query does not attend to
    /// a key. It defines what the kernels compute without it.
    pub fn mask(&self, [queries, keys]: [usize; 2], device: &B::Device) -> Tensor<B, 4, Bool> {
        let first = keys as i64 - queries as i64;
        let rows = Tensor::<B, 1, Int>::arange(first..keys as i64, device);
        let columns = Tensor::<B, 1, Int>::arange(0..keys as i64, device);
        // How far a key lies before a query.
        let distance = rows.reshape([1, 1, queries, 1]) - columns.clone().reshape([1, 1, 1, keys]);
        let mut masked = distance.clone().equal_elem(i64::from(i32::MAX));
        // The document of each key, where there is any.
        let mut begun = None;
        if let Some(documents) = &self.documents {
            let [count] = documents.dims();
            // How many documents have started: 0 before the first, `count` after the last.
            let passed = columns.clone().reshape([keys, 1]);
            let passed = passed.greater_equal(documents.clone().reshape([1, count])).int();
            let started = passed.sum_dim(1);
            let [rows, columns] =
                [[1, 1, keys, 1], [1, 1, 1, keys]].map(|shape| started.clone().reshape(shape));
            let outside =
                columns.clone().equal_elem(0).bool_or(columns.clone().equal_elem(count as i64));
            masked = masked.bool_or(rows.not_equal(columns)).bool_or(outside);
            let last = count as i64 - 2;
            begun = (last >= 0).then(|| started.reshape([keys]).sub_scalar(1).clamp(0, last));
        }
        // Whether a key lies behind the prefix or context, `[batch or 1, 1, 1, keys]`.
        let behind = || {
            let lengths =
                self.pattern.lengths().filter(|_| self.documents.is_none() || begun.is_some());
            let lengths = lengths?.clone().clamp_min(0);
            let end = match (&self.documents, begun) {
                (Some(documents), Some(document)) => {
                    let starts = documents.clone().select(0, document.clone());
                    (starts + lengths.select(0, document)).unsqueeze::<2>()
                }
                _ => lengths.unsqueeze_dim::<2>(1),
            };
            let behind = columns.unsqueeze::<2>().greater_equal(end);
            Some(behind.unsqueeze_dims::<4>(&[1, 2]))
        };
        let both = |one: Tensor<B, 4, Bool>, other: Option<Tensor<B, 4, Bool>>| match other {
            Some(other) => {
                let shape = [other.dims()[0], 1, queries, keys];
                one.expand(shape).bool_and(other.expand(shape))
            }
            None => one,
        };
        let pattern = match &self.pattern {
            AttentionPattern::Bidirectional => None,
            AttentionPattern::Causal | AttentionPattern::Prefix(_) => {
                Some(both(distance.clone().lower_elem(0), behind()))
            }
            AttentionPattern::Context(_) => {
                Some(both(distance.clone().not_equal_elem(0), behind()))
            }
        };
        if let Some(window) = self.window {
            masked = masked.bool_or(distance.abs().greater_equal_elem(window as i64));
        }
        let pad = self.mask_pad.clone().map(|mask| mask.unsqueeze_dims::<4>(&[1, 2]));
        [pattern, pad].into_iter().flatten().fold(masked, |masked, other| {
            let batch = masked.dims()[0].max(other.dims()[0]);
            let shape = [batch, 1, queries, keys];
            masked.expand(shape).bool_or(other.expand(shape))
        })
    }
}
