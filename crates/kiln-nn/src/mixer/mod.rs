//! A mixer: linear layers over tokens, over features and over channels in turn.
//!
//! TSMixer with gated attention as in <https://arxiv.org/abs/2306.09364>, and its adaptive patching
//! as in Tiny Time Mixers, <https://arxiv.org/abs/2401.03955>: at level k the width is cut in 2^k
//! parts, which become tokens of their own, so that a layer sees finer patches. Levels run from
//! the finest to the coarsest.

mod config;
mod layers;

pub use config::MixerConfig;
pub use layers::{Axis, Mixer, MixerBlock, MixerLayer, MixerStage};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::BackboneShape;
    use burn::tensor::{Distribution, Tensor};
    use burn_flex::Flex;
    use kiln_core::Tokens;

    const SHAPE: BackboneShape = BackboneShape { width: 24, tokens: 4, channels: 3 };

    fn forward(mixer: &Mixer<Flex>, x: Tensor<Flex, 3>) -> Vec<f32> {
        let tokens = mixer.forward(Tokens { values: x, mask_pad: None, channels: 3 });
        assert_eq!(tokens.dims(), [6, 4, 24]);
        tokens.values.into_data().to_vec().unwrap()
    }

    #[test]
    fn channels_are_mixed_only_when_asked() {
        let x = Tensor::random([6, 4, 24], Distribution::Default, &Default::default());
        let changed = x.clone().slice_fill([2..3, 0..4, 0..24], 3.0);
        for channel_mixing in [false, true] {
            let config = MixerConfig { channel_mixing, attention_heads: 2, ..Default::default() };
            config.validate(SHAPE).unwrap();
            let mixer = config.init(SHAPE, &Default::default());
            let (a, b) = (forward(&mixer, x.clone()), forward(&mixer, changed.clone()));
            assert_eq!(a[..96] != b[..96], channel_mixing, "the first channel of the first item");
            assert_eq!(a[288..], b[288..], "items are never mixed");
        }
    }

    #[test]
    fn adaptive_levels_cut_from_fine_to_coarse() {
        let config = MixerConfig { adaptive_levels: 3, ..Default::default() };
        assert_eq!(config.cuts(24), [4, 2, 1]);
        assert_eq!(config.cuts(12), [1, 2, 1], "3 features would be too narrow");
        assert_eq!(MixerConfig::default().cuts(24), [1]);
        let x = Tensor::random([6, 4, 24], Distribution::Default, &Default::default());
        let mixer = config.init(SHAPE, &Default::default());
        assert_eq!(forward(&mixer, x).len(), 6 * 4 * 24);
        let odd = BackboneShape { width: 25, ..SHAPE };
        let message = config.validate(odd).unwrap_err().to_string();
        assert!(message.contains("the width 25 is not divisible by 4"), "{message}");
    }

    #[test]
    fn a_single_token_has_no_token_mixer() {
        let shape = BackboneShape { tokens: 1, ..SHAPE };
        let mixer = MixerConfig::default().init::<Flex>(shape, &Default::default());
        assert!(mixer.stages[0].layers[0].token.is_none());
        let config = MixerConfig { mix_single_token: true, ..Default::default() };
        let mixer = config.init::<Flex>(shape, &Default::default());
        assert!(mixer.stages[0].layers[0].token.is_some());
    }
}
