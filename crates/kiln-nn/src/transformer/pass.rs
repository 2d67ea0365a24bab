//! What a pass through a transformer looks at beside its tokens.

use super::Transformer;
use crate::{KeysValues, PositionConfig, Positions, Rotation, Sees, sees::UNSEEN};
use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{alibi_slopes, rotary_table};

/// What a pass through a transformer looks at beside its tokens; by default at nothing.
#[derive(Debug)]
pub struct Pass<'a, B: Backend> {
    /// Whether a token sees only itself and what came before.
    pub causal: bool,
    /// Another sequence that decoders attend to, `[batch, others, width]`.
    pub memory: Option<&'a Tokens<B>>,
    /// What came before, which tokens see and join. Padding of the tokens is then `[batch, tokens
    /// seen before and now]`.
    pub cache: Option<&'a mut Cache<B>>,
    /// Where tokens stand; at their places (after those of the cache) if absent. What attention
    /// knows of distances follows from places all the same, unless tokens are arranged, which
    /// neither offsets nor a cache go with.
    pub positions: Option<Positions<B>>,
    /// Several sequences one after the other in a batch of one: where each begins, and where the
    /// last ends, `[sequences + 1]`; tokens see their own only.
    pub offsets: Option<Tensor<B, 1, Int>>,
    /// Added to all scores, `[batch or 1, heads or 1, tokens, tokens seen]`: a mask of any shape.
    pub bias: Option<Tensor<B, 4>>,
}

impl<B: Backend> Default for Pass<'_, B> {
    fn default() -> Self {
        Self {
            causal: false,
            memory: None,
            cache: None,
            positions: None,
            offsets: None,
            bias: None,
        }
    }
}

/// Keys and values of what was seen before, for decoding token by token.
#[derive(Debug, Clone, Default)]
pub struct Cache<B: Backend> {
    pub(super) layers: Vec<Layer<B>>,
    /// How many of the tokens of each block are of its prompt.
    pub(crate) prompt: usize,
}

/// Those of a block.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer<B: Backend> {
    pub(super) own: KeysValues<B>,
    pub(super) memory: KeysValues<B>,
}

impl<B: Backend> Cache<B> {
    /// Tokens seen, without a prompt's.
    pub fn len(&self) -> usize {
        self.held().saturating_sub(self.prompt)
    }

    /// Tokens held, with a prompt's.
    fn held(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.own.len())
    }

    /// Whether none was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes off what blocks above the first `layers` saw: those of a stack on top of another.
    #[must_use]
    pub fn split_off(&mut self, layers: usize) -> Self {
        let above = self.layers.split_off(layers.min(self.layers.len()));
        Self { layers: above, prompt: 0 }
    }

    /// Puts it back.
    pub fn append(&mut self, above: Self) {
        self.layers.extend(above.layers);
    }

    /// Goes on with other sequences: those of `rows`, `[new batch]`.
    pub fn select(&mut self, rows: &Tensor<B, 1, Int>) {
        for layer in &mut self.layers {
            layer.own.select(rows);
            layer.memory.select(rows);
        }
    }
}

/// What blocks see: those that see all, and those that see a window.
pub(super) struct Views<B: Backend> {
    global: Sees<B>,
    local: Option<Sees<B>>,
}

impl<B: Backend> Views<B> {
    pub(super) fn new(model: &Transformer<B>, tokens: &Tokens<B>, pass: &Pass<'_, B>) -> Self {
        let config = &model.config;
        let [_, count, width] = tokens.dims();
        let before = pass.cache.as_ref().map_or(0, |cache| cache.held());
        // Tokens stand after the prefix, which is not turned.
        let prefix = model.prefix();
        let rotation = |local: bool| match &config.positions {
            Some(PositionConfig::Rotary(rotary)) => {
                let frequencies = rotary.frequencies(config.attention(width).head_width(), local);
                let positions = match &pass.positions {
                    Some(positions) => prefix..prefix + positions.count,
                    None => prefix + before..prefix + before + count,
                };
                let table = rotary_table(positions, &frequencies, &tokens.values.device());
                let table = match rotary.magnitude() {
                    1.0 => table,
                    magnitude => table.mul_scalar(magnitude),
                };
                let rows = pass.positions.as_ref().map(|positions| positions.ids.clone());
                Some(Rotation { table, rows })
            }
            _ => None,
        };
        let arranged = pass.positions.as_ref().filter(|positions| positions.arranged);
        let relative = model.relative.as_ref();
        let mut distances = relative.map(|relative| match arranged {
            Some(positions) => relative.forward_between(positions, pass.causal),
            None => relative.forward(count, before + count, pass.causal),
        });
        let mut alibi = config.positions == Some(PositionConfig::Alibi);
        if let (true, Some(positions)) = (alibi, arranged) {
            (distances, alibi) = (Some(falling(positions, config.heads)), false);
        }
        let global = Sees {
            mask_pad: tokens.mask_pad.clone(),
            causal: pass.causal,
            window: None,
            offsets: pass.offsets.clone(),
            bias: both(distances, pass.bias.clone()),
            alibi,
            rotation: rotation(false),
        };
        let local = config.local.map(|local| {
            let far = arranged.map(|positions| beyond(positions, local.window));
            Sees {
                window: Some(local.window).filter(|_| arranged.is_none()),
                bias: both(global.bias.clone(), far),
                rotation: rotation(true),
                ..global.clone()
            }
        });
        Self { global, local }
    }

    pub(super) fn of(&self, local: bool) -> &Sees<B> {
        self.local.as_ref().filter(|_| local).unwrap_or(&self.global)
    }
}

/// The sum of what is added to scores.
fn both<B: Backend>(
    one: Option<Tensor<B, 4>>,
    other: Option<Tensor<B, 4>>,
) -> Option<Tensor<B, 4>> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let other = other.cast(FloatDType::from(one.dtype()));
            Some(one + other)
        }
        (one, other) => one.or(other),
    }
}

/// What falls with the distance of arranged tokens, `[batch, heads, tokens, tokens]`.
fn falling<B: Backend>(positions: &Positions<B>, heads: usize) -> Tensor<B, 4> {
    let distance = positions.ahead().abs().float();
    let slopes = TensorData::new(alibi_slopes(heads), [1, heads, 1, 1]);
    let slopes = Tensor::<B, 4>::from_data(slopes, &distance.device());
    distance.unsqueeze_dim::<4>(1) * slopes.neg()
}

/// What hides arranged tokens outside a window, `[batch, 1, tokens, tokens]`.
fn beyond<B: Backend>(positions: &Positions<B>, window: usize) -> Tensor<B, 4> {
    let outside = positions.ahead().abs().greater_equal_elem(window as i64);
    outside.float().mul_scalar(UNSEEN).unsqueeze_dim(1)
}
