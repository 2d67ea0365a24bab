//! Attention pooling: a text's vector by a small decoder with one learned query, which attends to
//! all of its tokens. EncT5, <https://arxiv.org/abs/2110.08426>.

use crate::config::AttentionPoolingConfig;
use burn::{
    module::{Initializer, Module, Param},
    tensor::Tensor,
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{Transformer, TransformerConfig};

/// Attention pooling: a learned query, and the blocks with which it attends to tokens.
#[derive(Module, Debug)]
pub struct AttentionPooling<B: Backend> {
    /// The learned query, which stands where a decoder begins, `[1, width]`.
    pub start: Param<Tensor<B, 2>>,
    /// Blocks that attend to the tokens.
    pub decoder: Transformer<B>,
}

impl<B: Backend> AttentionPooling<B> {
    /// Of blocks like those of a backbone.
    pub(crate) fn new(
        config: AttentionPoolingConfig,
        width: usize,
        backbone: &TransformerConfig,
        device: &B::Device,
    ) -> Self {
        let blocks = TransformerConfig {
            layers: config.layers,
            // One token has no neighbours.
            positions: None,
            local: None,
            every_layer: None,
            first_norm: true,
            final_norm: true,
            ..backbone.clone()
        };
        let start = Initializer::Normal { mean: 0.0, std: 0.02 };
        Self {
            start: start.init([1, width], device),
            decoder: blocks.init_cross_attention(width, device),
        }
    }

    /// `[batch, tokens, width]` to `[batch, width]`.
    pub fn forward(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        let [batch, _, width] = tokens.dims();
        let start = self.start.val().unsqueeze::<3>().expand([batch, 1, width]);
        let found = self.decoder.forward_cross_attention(Tokens::new(start), tokens, false);
        found.values.reshape([batch, width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Bool, Distribution};
    use burn_flex::Flex;

    #[test]
    fn all_tokens_are_seen_but_no_padding() {
        let device = Default::default();
        let backbone = TransformerConfig { layers: 3, heads: 2, ..TransformerConfig::default() };
        let query = AttentionPooling::<Flex>::new(
            AttentionPoolingConfig { layers: 1 },
            8,
            &backbone,
            &device,
        );
        assert_eq!(query.decoder.layers.len(), 1);
        let values = Tensor::random([2, 3, 8], Distribution::Normal(0.0, 1.0), &device);
        let pad = [[false, false, false], [false, false, true]];
        let pad = Tensor::<Flex, 2, Bool>::from_data(pad, &device);
        let read = |values: Tensor<Flex, 3>| {
            let tokens = Tokens { values, mask_pad: Some(pad.clone()), channels: 1 };
            let found: Vec<f32> = query.forward(&tokens).into_data().to_vec().unwrap();
            (found[..8].to_vec(), found[8..].to_vec())
        };
        let (first, second) = read(values.clone());
        let (other, same) = read(values.slice_fill([0..2, 2..3, 0..8], 3.0));
        assert!(first != other && second == same);
    }
}
