//! A mixer: linear layers over tokens, over features and over channels in turn.
//!
//! TSMixer with gated attention as in <https://arxiv.org/abs/2306.09364>, and its adaptive patching
//! as in Tiny Time Mixers, <https://arxiv.org/abs/2401.03955>: at level k the width is cut in 2^k
//! parts, which become tokens of their own, so that a layer sees finer patches. Levels run from
//! the finest to the coarsest.

use crate::{
    Activation, Attention, AttentionConfig, BackboneShape, ConfigError, FeedForward,
    FeedForwardConfig, Linear, LinearConfig, Norm, NormConfig,
    adapt::{Adapt, Walk},
    precision::in_type_of,
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionVisibility, softmax_gate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The narrowest tokens that adaptive patching may leave: levels that would cut finer stay uncut.
const NARROWEST: usize = 4;

/// A mixer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixerConfig {
    /// Layers, at each level where patching is adaptive.
    pub layers: usize,
    /// Levels of adaptive patching; 0 for none.
    pub adaptive_levels: usize,
    /// Hidden features of a mixing layer, as a multiple of what it mixes.
    pub expansion: usize,
    /// The norms.
    pub norm: NormConfig,
    /// Between the two linear layers.
    pub activation: Activation,
    /// Whether what was mixed is weighed by a softmax gate.
    pub gated: bool,
    /// Whether channels are mixed too; that fixes their number.
    pub channel_mixing: bool,
    /// Heads of a self-attention beside the mixing of tokens; 0 for none.
    pub attention_heads: usize,
    /// Whether the tokens of sequences of one token are mixed all the same, as PatchTSMixer does.
    pub mix_single_token: bool,
    /// The share dropped after each linear layer.
    pub dropout: f64,
}

impl Default for MixerConfig {
    fn default() -> Self {
        Self {
            layers: 3,
            adaptive_levels: 0,
            expansion: 2,
            norm: NormConfig::default(),
            activation: Activation::Gelu,
            gated: true,
            channel_mixing: false,
            attention_heads: 0,
            mix_single_token: false,
            dropout: 0.0,
        }
    }
}

impl MixerConfig {
    /// In how many parts each stage cuts the width, in order.
    pub fn cuts(&self, width: usize) -> Vec<usize> {
        if self.adaptive_levels == 0 {
            return vec![1];
        }
        let cut = |level: usize| {
            // Past the width's bits, a shift would overflow: such a level stays uncut.
            let parts = u32::try_from(level).ok().and_then(|level| 1usize.checked_shl(level));
            parts.filter(|parts| width / parts > NARROWEST).unwrap_or(1)
        };
        (0..self.adaptive_levels).rev().map(cut).collect()
    }

    /// Checks the settings for tokens of `shape`.
    ///
    /// # Errors
    /// When a size or dropout is out of range, or the width cannot be cut as the levels ask.
    pub fn validate(&self, shape: BackboneShape) -> Result<(), ConfigError> {
        ConfigError::positive("layers", self.layers)?;
        ConfigError::positive("expansion", self.expansion)?;
        ConfigError::dropout("dropout", self.dropout)?;
        self.norm.validate().map_err(|error| error.within("norm"))?;
        if self.adaptive_levels > 16 {
            return Err(ConfigError::new("adaptive_levels", self.adaptive_levels, "at most 16"));
        }
        for cut in self.cuts(shape.width) {
            if !shape.width.is_multiple_of(cut) {
                let expected =
                    format!("fewer levels: the width {} is not divisible by {cut}", shape.width);
                return Err(ConfigError::new("adaptive_levels", self.adaptive_levels, expected));
            }
            if self.attention_heads > 0 {
                let (width, heads) = (shape.width / cut, self.attention_heads);
                AttentionConfig { dropout: self.dropout, ..AttentionConfig::new(width, heads) }
                    .validate()
                    .map_err(|error| ConfigError { key: "attention_heads".into(), ..error })?;
            }
        }
        Ok(())
    }

    /// A mixer with random weights.
    pub fn init<B: Backend>(&self, shape: BackboneShape, device: &B::Device) -> Mixer<B> {
        let stage = |cut: usize| MixerStage {
            layers: (0..self.layers).map(|_| self.layer(shape, cut, device)).collect(),
            cut,
        };
        Mixer { stages: self.cuts(shape.width).into_iter().map(stage).collect() }
    }

    fn layer<B: Backend>(
        &self,
        shape: BackboneShape,
        cut: usize,
        device: &B::Device,
    ) -> MixerLayer<B> {
        let (width, tokens) = (shape.width / cut, shape.tokens * cut);
        MixerLayer {
            channel: self
                .channel_mixing
                .then(|| self.block(Axis::Channels, shape.channels, width, device)),
            // A single token has nothing to be mixed with.
            token: (tokens > 1 || self.mix_single_token)
                .then(|| self.block(Axis::Tokens, tokens, width, device)),
            feature: self.block(Axis::Features, width, width, device),
        }
    }

    fn block<B: Backend>(
        &self,
        axis: Axis,
        size: usize,
        width: usize,
        device: &B::Device,
    ) -> MixerBlock<B> {
        let heads = if axis == Axis::Tokens { self.attention_heads } else { 0 };
        let attention = (heads > 0).then(|| {
            AttentionConfig { dropout: self.dropout, ..AttentionConfig::new(width, heads) }
                .init(device)
        });
        MixerBlock {
            norm: self.norm.init(width, device),
            mix: FeedForwardConfig {
                width: size,
                hidden: size * self.expansion,
                activation: self.activation,
                dropout: self.dropout,
                output_dropout: self.dropout,
                bias: true,
                gated: false,
            }
            .init(device),
            gate: self.gated.then(|| LinearConfig::new(size, size).init(device)),
            attention_norm: attention.is_some().then(|| self.norm.init(width, device)),
            attention,
            axis,
        }
    }
}

/// What a block mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The channels of an item.
    Channels,
    /// The tokens of a sequence.
    Tokens,
    /// The features of a token.
    Features,
}

/// A mixer: stages from the finest patches to the coarsest.
#[derive(Module, Debug)]
pub struct Mixer<B: Backend> {
    /// In order.
    pub stages: Vec<MixerStage<B>>,
}

impl<B: Backend> Mixer<B> {
    /// `[batch, tokens, width]` to the same shape. The number of tokens is the one it was built
    /// for; where channels are mixed, so is `tokens.channels`.
    pub fn forward(&self, tokens: Tokens<B>) -> Tokens<B> {
        let [batch, count, width] = tokens.dims();
        let layers = self.stages.iter().flat_map(|stage| &stage.layers);
        let weight = layers.map(|layer| layer.feature.mix.hidden.weight.val()).next();
        let stages = |x: Tensor<B, 3>| {
            let mut x = Stream::new(x);
            for stage in &self.stages {
                if stage.cut > 1 {
                    x = x.reshape([batch, count * stage.cut, width / stage.cut]);
                }
                for layer in &stage.layers {
                    x = layer.forward(x, tokens.channels);
                }
                if stage.cut > 1 {
                    x = x.reshape([batch, count, width]);
                }
            }
            x.sum()
        };
        let x = in_type_of(weight, tokens.values.clone(), stages);
        tokens.with_values(x)
    }
}

/// A residual stream, `[batch, tokens, width]`, whose last addition waits for the norm that reads
/// it: both are then one pass over memory.
struct Stream<B: Backend> {
    x: Tensor<B, 3>,
    added: Option<Tensor<B, 3>>,
}

impl<B: Backend> Stream<B> {
    fn new(x: Tensor<B, 3>) -> Self {
        Self { x, added: None }
    }

    fn sum(self) -> Tensor<B, 3> {
        match self.added {
            Some(added) => self.x + added,
            None => self.x,
        }
    }

    /// The norm of the stream, and the stream.
    fn normed(self, norm: &Norm<B>) -> (Tensor<B, 3>, Tensor<B, 3>) {
        match self.added {
            Some(added) => norm.forward_add(added, self.x),
            None => (norm.forward(self.x.clone()), self.x),
        }
    }

    fn reshape(self, shape: [usize; 3]) -> Self {
        Self::new(self.sum().reshape(shape))
    }
}

/// The layers at one level of adaptive patching.
#[derive(Module, Debug)]
pub struct MixerStage<B: Backend> {
    /// In order.
    pub layers: Vec<MixerLayer<B>>,
    cut: usize,
}

/// Mixes channels, tokens and features.
#[derive(Module, Debug)]
pub struct MixerLayer<B: Backend> {
    /// Where channels are mixed.
    pub channel: Option<MixerBlock<B>>,
    /// Where there is more than one token.
    pub token: Option<MixerBlock<B>>,
    /// Always.
    pub feature: MixerBlock<B>,
}

impl<B: Backend> MixerLayer<B> {
    /// `[items * channels, tokens, width]` to the same shape.
    fn forward(&self, mut x: Stream<B>, channels: usize) -> Stream<B> {
        for block in self.channel.iter().chain(&self.token).chain([&self.feature]) {
            x = block.forward(x, channels);
        }
        x
    }
}

/// Mixes along one axis, with a residual.
#[derive(Module, Debug)]
pub struct MixerBlock<B: Backend> {
    /// Before mixing, over features.
    pub norm: Norm<B>,
    /// Two linear layers along the axis.
    pub mix: FeedForward<B>,
    /// Weighs each place along the axis.
    pub gate: Option<Linear<B>>,
    /// Self-attention beside the mixing of tokens.
    pub attention: Option<Attention<B>>,
    /// Over the sum of both.
    pub attention_norm: Option<Norm<B>>,
    #[module(skip)]
    axis: Axis,
}

impl<B: Backend> MixerBlock<B> {
    /// `[items * channels, tokens, width]` to the same shape.
    fn forward(&self, x: Stream<B>, channels: usize) -> Stream<B> {
        let (normed, x) = x.normed(&self.norm);
        let mixed = match self.axis {
            Axis::Features => self.gated(self.mix.forward(normed)),
            Axis::Tokens => self.mix_tokens(normed),
            Axis::Channels => self.mix_channels(normed, channels),
        };
        Stream { x, added: Some(mixed) }
    }

    fn mix_tokens(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let all = AttentionVisibility::bidirectional();
        let attend = |attention: &Attention<B>| attention.forward(x.clone(), &all);
        let attended = self.attention.as_ref().map(attend);
        let mixed = self.gated_tokens(self.mix.forward_tokens(x));
        match (attended, &self.attention_norm) {
            (Some(attended), Some(norm)) => norm.forward(mixed + attended),
            _ => mixed,
        }
    }

    /// Here the gate comes first, as the reference has it.
    fn mix_channels(&self, x: Tensor<B, 3>, channels: usize) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let items = batch / channels.max(1);
        // The channels of an item are its tokens, and what is at all their places its features.
        let x = x.reshape([items, channels, tokens * width]);
        self.mix.forward_tokens(self.gated_tokens(x)).reshape([batch, tokens, width])
    }

    fn gated(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.gate {
            Some(gate) => softmax_gate(x.clone(), gate.forward(x), 2),
            None => x,
        }
    }

    fn gated_tokens(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.gate {
            Some(gate) => softmax_gate(x.clone(), gate.forward_tokens(x), 1),
            None => x,
        }
    }
}

impl<B: Backend> Adapt<B> for Mixer<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("stages", &mut self.stages);
    }
}

impl<B: Backend> Adapt<B> for MixerStage<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("layers", &mut self.layers);
    }
}

impl<B: Backend> Adapt<B> for MixerLayer<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("channel", &mut self.channel);
        walk.enter("token", &mut self.token);
        walk.enter("feature", &mut self.feature);
    }
}

impl<B: Backend> Adapt<B> for MixerBlock<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("mix", &mut self.mix);
        walk.enter("gate", &mut self.gate);
        walk.enter("attention", &mut self.attention);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use burn_flex::Flex;

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
