//! The layers of a mixer.

use crate::{
    Attention, FeedForward, Linear, Norm,
    adapt::{Adapt, Walk},
    precision::in_type_of,
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionVisibility, softmax_gate};

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
    pub(super) cut: usize,
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
    pub(super) axis: Axis,
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
