//! One block of a transformer.

use super::{EveryLayer, options::LayerCache};
use crate::{
    Attention, Dropout, FeedForward, KvCache, Norm, Rotation,
    adapt::{Adapt, Walk},
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_kernels::AttentionVisibility;

/// Transformer block: attention and feed-forward, each with a residual; where blocks read means of what those before
/// them gave, attention has none.
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    /// Self-attention over tokens, and over channels where that is asked for.
    pub attention: Attention<B>,
    /// Before or after the attention over tokens.
    pub attention_norm: Option<Norm<B>>,
    /// Cross-attention, in decoders.
    pub cross_attention: Option<CrossAttentionBlock<B>>,
    /// Before or after the attention over channels.
    pub channel_norm: Option<Norm<B>>,
    /// Feed-forward over features.
    pub feed_forward: FeedForward<B>,
    /// Before or after the feed-forward, unless it reads through the norm of the attention.
    pub feed_forward_norm: Option<Norm<B>>,
    pub(super) dropout: Dropout,
    pub(super) pre_norm: bool,
    pub(super) parallel: bool,
    #[module(skip)]
    pub(super) every_layer: Option<EveryLayer>,
}

/// Cross-attention sub-block: attention to another sequence, and its norm.
#[derive(Module, Debug)]
pub struct CrossAttentionBlock<B: Backend> {
    /// Over the tokens of another sequence.
    pub attention: Attention<B>,
    /// Before or after it.
    pub norm: Norm<B>,
}

impl<B: Backend> TransformerBlock<B> {
    /// `[batch, tokens, width]` to the same shape; a decoder's block also attends to `memory`,
    /// `[batch, others, width]`, where it is given.
    pub(super) fn forward(
        &self,
        x: Tensor<B, 3>,
        visibility: (&AttentionVisibility<B>, Option<&Rotation<B>>),
        memory: Option<&Tokens<B>>,
        cache: Option<&mut LayerCache<B>>,
        channels: usize,
    ) -> Tensor<B, 3> {
        let (own, memory_cache) = match cache {
            Some(LayerCache { own, memory }) => (Some(own), Some(memory)),
            None => (None, None),
        };
        let (entering, norm) = match (&self.feed_forward_norm, &self.attention_norm) {
            // What reads through one norm is normalised once.
            (None, Some(shared)) => (shared.forward(x.clone()), None),
            (_, norm) => (x.clone(), norm.as_ref()),
        };
        let entered = (self.parallel || self.every_layer.is_some()).then(|| entering.clone());
        let onto = self.every_layer.is_none().then_some(x);
        let x = self.attend(entering, onto, norm, visibility, own);
        // With no stream that runs past the block, what entered is read on, but not given.
        let read = |x: &Tensor<B, 3>| match (&entered, self.every_layer) {
            (_, None | Some(EveryLayer::Biased)) | (None, _) => x.clone(),
            (Some(entered), Some(_)) => entered.clone() + x.clone(),
        };
        let x = match (&self.cross_attention, memory) {
            (Some(cross), Some(memory)) => {
                self.residual(read(&x), Some(x), Some(&cross.norm), |x, onto| {
                    cross.attention.forward_cross_onto(x, memory, memory_cache, onto)
                })
            }
            _ => x,
        };
        let x = match &self.channel_norm {
            Some(norm) => self.attend_channels(x, norm, channels),
            None => x,
        };
        let feed = &self.feed_forward;
        let read = match &entered {
            Some(entered) if self.parallel => entered.clone(),
            _ => read(&x),
        };
        self.residual(read, Some(x), self.feed_forward_norm.as_ref(), |x, onto| match onto {
            Some(residual) => feed.forward_onto(x, residual),
            None => feed.forward(x),
        })
    }

    fn attend(
        &self,
        x: Tensor<B, 3>,
        onto: Option<Tensor<B, 3>>,
        norm: Option<&Norm<B>>,
        (visibility, rotation): (&AttentionVisibility<B>, Option<&Rotation<B>>),
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        self.residual(x, onto, norm, |x, onto| {
            self.attention.forward_onto(x, visibility, rotation, cache, onto)
        })
    }

    /// A part of the block with its norm, added to a residual where there is one. `inner` adds its
    /// result to the residual itself where it is given one.
    fn residual(
        &self,
        read: Tensor<B, 3>,
        onto: Option<Tensor<B, 3>>,
        norm: Option<&Norm<B>>,
        inner: impl FnOnce(Tensor<B, 3>, Option<Tensor<B, 3>>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let [before, after] = if self.pre_norm { [norm, None] } else { [None, norm] };
        let input = match before {
            Some(norm) => norm.forward(read),
            None => read,
        };
        let sum = match onto {
            Some(x) if self.dropout.is_active::<B>(&x.device()) => {
                self.dropout.forward_onto(inner(input, None), x)
            }
            Some(x) => inner(input, Some(x)),
            None => self.dropout.forward(inner(input, None)),
        };
        match after {
            Some(norm) => norm.forward(sum),
            None => sum,
        }
    }

    /// Attention over the channels of each token: `[items * channels, tokens, width]` seen as
    /// `[items * tokens, channels, width]`.
    fn attend_channels(&self, x: Tensor<B, 3>, norm: &Norm<B>, channels: usize) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let items = batch / channels.max(1);
        // From a rows of b columns an item to b rows of a columns.
        let swap = |x: Tensor<B, 3>, a, b| {
            x.reshape([items, a, b, width]).swap_dims(1, 2).reshape([items * b, a, width])
        };
        let x = swap(x, channels, tokens);
        let all = AttentionVisibility::bidirectional();
        let x = self.attend(x.clone(), Some(x), Some(norm), (&all, None), None);
        swap(x, tokens, channels)
    }
}

impl<B: Backend> Adapt<B> for TransformerBlock<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("attention", &mut self.attention);
        walk.enter("cross_attention", &mut self.cross_attention);
        walk.enter("feed_forward", &mut self.feed_forward);
    }
}

impl<B: Backend> Adapt<B> for CrossAttentionBlock<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("attention", &mut self.attention);
    }
}
