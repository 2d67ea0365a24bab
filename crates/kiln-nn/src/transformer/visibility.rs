//! Attention visibility and rotation of each block.

use super::{TransformerConfig, options::ForwardOptions};
use crate::{PositionConfig, Positions, RelativeBias, Rotation};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionVisibility, MASK_VALUE, alibi_slopes, rotary_table};

/// Visibility and rotation of global blocks, and of local ones, which have a sliding window.
pub(super) struct LayerVisibility<B: Backend> {
    global: (AttentionVisibility<B>, Option<Rotation<B>>),
    local: Option<(AttentionVisibility<B>, Option<Rotation<B>>)>,
}

impl<B: Backend> LayerVisibility<B> {
    /// For blocks of `config`, behind `prefix` learned keys.
    pub(super) fn new(
        config: &TransformerConfig,
        relative: Option<&RelativeBias<B>>,
        prefix: usize,
        tokens: &Tokens<B>,
        options: &ForwardOptions<'_, B>,
    ) -> Self {
        let [_, count, width] = tokens.dims();
        let before = options.cache.as_ref().map_or(0, |cache| cache.held());
        // Tokens stand after the prefix, which is not rotated.
        let rotation = |local: bool| match &config.positions {
            Some(PositionConfig::Rotary(rotary)) => {
                let frequencies = rotary.frequencies(config.attention(width).head_width(), local);
                let positions = match &options.positions {
                    Some(positions) => prefix..prefix + positions.count,
                    None => prefix + before..prefix + before + count,
                };
                let table = rotary_table(positions, &frequencies, &tokens.values.device());
                let table = match rotary.magnitude() {
                    1.0 => table,
                    magnitude => table.mul_scalar(magnitude),
                };
                let rows = options.positions.as_ref().map(|positions| positions.ids.clone());
                Some(Rotation { table, rows })
            }
            _ => None,
        };
        let arranged = options.positions.as_ref().filter(|positions| positions.arranged);
        let causal = options.visibility.is_causal();
        let mut distances = relative.map(|relative| match arranged {
            Some(positions) => relative.forward_between(positions, causal),
            None => relative.forward(count, before + count, causal),
        });
        let mut alibi = config.positions == Some(PositionConfig::Alibi);
        if let (true, Some(positions)) = (alibi, arranged) {
            (distances, alibi) = (Some(alibi_bias(positions, config.heads)), false);
        }
        let mut global = options.visibility.clone().with_alibi(alibi);
        global.mask_pad = global.mask_pad.or_else(|| tokens.mask_pad.clone());
        // The sum has the type of the distances.
        let bias = std::mem::replace(&mut global.bias, distances);
        let global = global.add_bias(bias);
        let local = config.local.map(|local| {
            let far = arranged.map(|positions| window_mask(positions, local.window));
            let window = Some(local.window).filter(|_| arranged.is_none());
            (global.clone().with_window(window).add_bias(far), rotation(true))
        });
        Self { global: (global, rotation(false)), local }
    }

    pub(super) fn of(&self, local: bool) -> (&AttentionVisibility<B>, Option<&Rotation<B>>) {
        let (visibility, rotation) = self.local.as_ref().filter(|_| local).unwrap_or(&self.global);
        (visibility, rotation.as_ref())
    }
}

/// ALiBi of arranged tokens, an attention bias `[batch, heads, tokens, tokens]`.
fn alibi_bias<B: Backend>(positions: &Positions<B>, heads: usize) -> Tensor<B, 4> {
    let distance = positions.ahead().abs().float();
    let slopes = TensorData::new(alibi_slopes(heads), [1, heads, 1, 1]);
    let slopes = Tensor::<B, 4>::from_data(slopes, &distance.device());
    distance.unsqueeze_dim::<4>(1) * slopes.neg()
}

/// Sliding window of arranged tokens, an attention bias `[batch, 1, tokens, tokens]`.
fn window_mask<B: Backend>(positions: &Positions<B>, window: usize) -> Tensor<B, 4> {
    let outside = positions.ahead().abs().greater_equal_elem(window as i64);
    outside.float().mul_scalar(MASK_VALUE).unsqueeze_dim(1)
}

/// Document mask of rows of packed documents, `[rows, tokens, tokens]`: true where two tokens are of
/// different documents. Documents begin at the `offsets`, counted through the rows,
/// `[documents + 1]`.
pub(super) fn document_mask<B: Backend>(
    offsets: &Tensor<B, 1, Int>,
    [rows, tokens]: [usize; 2],
) -> Tensor<B, 3, Bool> {
    let ([borders], all) = (offsets.dims(), rows * tokens);
    let places = Tensor::<B, 1, Int>::arange(0..all as i64, &offsets.device());
    let passed = places.reshape([all, 1]).greater_equal(offsets.clone().reshape([1, borders]));
    let document = passed.int().sum_dim(1);
    let key = document.clone().reshape([rows, 1, tokens]);
    document.reshape([rows, tokens, 1]).not_equal(key)
}
