//! What a forward pass of a transformer takes beside its tokens.

use crate::{KvCache, Positions};
use burn::tensor::{Int, Tensor};
use kiln_core::{Backend, Tokens};
use kiln_kernels::AttentionVisibility;

/// Options of a forward pass: attention visibility, cross-attention memory, KV cache and positions.
/// By default tokens attend to each other and to nothing else.
#[derive(Debug)]
pub struct ForwardOptions<'a, B: Backend> {
    /// Which tokens a token attends to. Its padding mask is that of the tokens if absent; a window
    /// is that of the blocks.
    pub visibility: AttentionVisibility<B>,
    /// Cross-attention memory of decoders, `[batch, others, width]`.
    pub memory: Option<&'a Tokens<B>>,
    /// KV cache of earlier tokens, which tokens attend to and join. The padding mask is then
    /// `[batch, earlier and present tokens]`.
    pub cache: Option<&'a mut DecoderCache<B>>,
    /// Position ids; if absent, places in the sequence (after those of the cache). Distances follow
    /// from places all the same, unless tokens are arranged, which neither documents nor a cache
    /// go with.
    pub positions: Option<Positions<B>>,
}

impl<B: Backend> Default for ForwardOptions<'_, B> {
    fn default() -> Self {
        AttentionVisibility::bidirectional().into()
    }
}

impl<B: Backend> From<AttentionVisibility<B>> for ForwardOptions<'_, B> {
    fn from(visibility: AttentionVisibility<B>) -> Self {
        Self { visibility, memory: None, cache: None, positions: None }
    }
}

/// KV cache of a whole transformer, for incremental decoding: of each block its own and, in decoders,
/// that of the memory.
#[derive(Debug, Clone, Default)]
pub struct DecoderCache<B: Backend> {
    pub(super) layers: Vec<LayerCache<B>>,
    /// How many of the tokens of each block are of its prompt.
    pub(crate) prompt: usize,
}

/// KV caches of a block.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerCache<B: Backend> {
    pub(super) own: KvCache<B>,
    pub(super) memory: KvCache<B>,
}

impl<B: Backend> DecoderCache<B> {
    /// Tokens in the cache, without a prompt's.
    pub fn len(&self) -> usize {
        self.held().saturating_sub(self.prompt)
    }

    /// Tokens in the cache, with a prompt's.
    pub(super) fn held(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.own.len())
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Splits off the caches of the blocks above the first `layers`: of a stack on top of another.
    #[must_use]
    pub fn split_off(&mut self, layers: usize) -> Self {
        let above = self.layers.split_off(layers.min(self.layers.len()));
        Self { layers: above, prompt: 0 }
    }

    /// Appends what was split off.
    pub fn append(&mut self, above: Self) {
        self.layers.extend(above.layers);
    }

    /// Selects sequences of the batch, `rows: [new batch]`, as a beam search does.
    pub fn select(&mut self, rows: &Tensor<B, 1, Int>) {
        for layer in &mut self.layers {
            layer.own.select(rows);
            layer.memory.select(rows);
        }
    }
}
