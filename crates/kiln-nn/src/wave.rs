//! Convolutions that turn a wave into frames, as in wav2vec 2.0, <https://arxiv.org/abs/2006.11477>.

use crate::{
    Activation, ConfigError, Conv1d, Conv1dConfig, GroupNorm, GroupNormConfig, Norm, NormConfig,
};
use burn::{
    module::{Initializer, Module},
    tensor::Tensor,
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Convolutions that turn a wave into frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaveEncoderConfig {
    /// From the wave up.
    pub layers: Vec<WaveLayerConfig>,
    /// What is normalised.
    pub norm: WaveNormKind,
    /// Whether convolutions have biases.
    pub bias: bool,
    /// After each layer.
    pub activation: Activation,
}

/// One convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaveLayerConfig {
    /// Channels out.
    pub channels: usize,
    /// Samples, or frames of the layer before, that a frame sees.
    pub kernel: usize,
    /// Samples, or frames of the layer before, from one frame to the next.
    pub stride: usize,
}

/// What a wave encoder normalises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaveNormKind {
    /// Each channel of the first layer over all frames, padding included.
    #[default]
    Group,
    /// Each frame of every layer over its channels.
    Layer,
}

impl Default for WaveEncoderConfig {
    /// The published one: a frame every 320 samples that sees 400.
    fn default() -> Self {
        let layers = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
        let layer = |(kernel, stride)| WaveLayerConfig { channels: 512, kernel, stride };
        Self {
            layers: layers.map(layer).to_vec(),
            norm: WaveNormKind::Group,
            bias: false,
            activation: Activation::Gelu,
        }
    }
}

impl WaveEncoderConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero or there is no layer.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("layers", self.layers.len())?;
        self.layers.iter().try_for_each(|layer| {
            ConfigError::positive("layers.channels", layer.channels)?;
            ConfigError::positive("layers.kernel", layer.kernel)?;
            ConfigError::positive("layers.stride", layer.stride)
        })
    }

    /// Channels of a frame.
    pub fn width(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.channels)
    }

    /// How many frames come of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        self.layers.iter().fold(samples, |frames, layer| {
            frames.checked_sub(layer.kernel).map_or(0, |rest| rest / layer.stride + 1)
        })
    }

    /// Samples that a frame sees.
    pub fn receptive_field(&self) -> usize {
        let wider = |seen, layer: &WaveLayerConfig| (seen - 1) * layer.stride + layer.kernel;
        self.layers.iter().rev().fold(1, wider)
    }

    /// Samples from one frame to the next.
    pub fn stride(&self) -> usize {
        self.layers.iter().map(|layer| layer.stride).product()
    }

    /// An encoder with random weights, normal with a variance of two over the inputs an output has
    /// (<https://arxiv.org/abs/1502.01852>).
    pub fn init<B: Backend>(&self, device: &B::Device) -> WaveEncoder<B> {
        let mut inputs = 1;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter().enumerate() {
            let config = Conv1dConfig::new(inputs, layer.channels, layer.kernel);
            let config = Conv1dConfig { stride: layer.stride, bias: self.bias, ..config };
            let deviation = (2.0 / (inputs * layer.kernel).max(1) as f64).sqrt();
            let normal = Initializer::Normal { mean: 0.0, std: deviation };
            let mut conv = config.init(device);
            conv.weight = normal.init([layer.channels, inputs, layer.kernel], device);
            let norm = match (self.norm, at) {
                (WaveNormKind::Layer, _) => {
                    Some(WaveNorm::Layer(NormConfig::default().init(layer.channels, device)))
                }
                (WaveNormKind::Group, 0) => {
                    let each = GroupNormConfig::new(layer.channels, layer.channels);
                    Some(WaveNorm::Group(each.init(device)))
                }
                (WaveNormKind::Group, _) => None,
            };
            layers.push(WaveLayer { conv, norm });
            inputs = layer.channels;
        }
        WaveEncoder { layers, activation: self.activation }
    }
}

/// Convolutions that turn a wave into frames.
#[derive(Module, Debug)]
pub struct WaveEncoder<B: Backend> {
    /// From the wave up.
    pub layers: Vec<WaveLayer<B>>,
    #[module(skip)]
    activation: Activation,
}

/// One convolution and what follows it.
#[derive(Module, Debug)]
pub struct WaveLayer<B: Backend> {
    /// Over samples, or frames of the layer before.
    pub conv: Conv1d<B>,
    /// Before the activation.
    pub norm: Option<WaveNorm<B>>,
}

/// A norm between convolution and activation.
#[derive(Module, Debug)]
pub enum WaveNorm<B: Backend> {
    /// Of each channel over the frames.
    Group(GroupNorm<B>),
    /// Of each frame over the channels.
    Layer(Norm<B>),
}

impl<B: Backend> WaveEncoder<B> {
    /// `[batch, samples]` to `[batch, frames, width]`, see [`WaveEncoderConfig::frames`].
    ///
    /// # Panics
    /// When the samples are fewer than [`WaveEncoderConfig::receptive_field`].
    pub fn forward(&self, wave: Tensor<B, 2>) -> Tensor<B, 3> {
        let layers = self.layers.iter();
        layers.fold(wave.unsqueeze_dim(2), |x, layer| layer.forward(x, self.activation))
    }
}

impl<B: Backend> WaveLayer<B> {
    fn forward(&self, x: Tensor<B, 3>, activation: Activation) -> Tensor<B, 3> {
        let gelu = activation == Activation::Gelu;
        match &self.norm {
            None if gelu => self.conv.forward_gelu(x),
            None => activation.forward(self.conv.forward(x)),
            Some(WaveNorm::Group(norm)) if gelu => norm.forward_gelu(self.conv.forward(x)),
            Some(WaveNorm::Group(norm)) => activation.forward(norm.forward(self.conv.forward(x))),
            Some(WaveNorm::Layer(norm)) => activation.forward(norm.forward(self.conv.forward(x))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn waves_become_frames() {
        let config = WaveEncoderConfig::default();
        config.validate().unwrap();
        assert_eq!(config.frames(16_000), 49);
        assert_eq!((config.frames(400), config.frames(399)), (1, 0));
        assert_eq!((config.receptive_field(), config.stride(), config.width()), (400, 320, 512));
        for norm in [WaveNormKind::Group, WaveNormKind::Layer] {
            let layers = vec![
                WaveLayerConfig { channels: 3, kernel: 4, stride: 2 },
                WaveLayerConfig { channels: 5, kernel: 3, stride: 2 },
            ];
            let small = WaveEncoderConfig { layers, norm, bias: true, ..config.clone() };
            let encoder = small.init::<Flex>(&Default::default());
            let frames = encoder.forward(Tensor::ones([2, 20], &Default::default()));
            assert_eq!(frames.dims(), [2, small.frames(20), 5]);
            let norms = encoder.layers.iter().filter(|layer| layer.norm.is_some()).count();
            assert_eq!(norms, if norm == WaveNormKind::Group { 1 } else { 2 });
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        let config = WaveEncoderConfig { layers: Vec::new(), ..Default::default() };
        assert_eq!(config.validate().unwrap_err().key, "layers");
        let layers = vec![WaveLayerConfig { channels: 1, kernel: 0, stride: 1 }];
        let config = WaveEncoderConfig { layers, ..Default::default() };
        assert_eq!(config.validate().unwrap_err().key, "layers.kernel");
    }
}
