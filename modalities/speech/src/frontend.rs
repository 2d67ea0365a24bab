//! From sound to tokens: convolutions over the wave as in wav2vec 2.0
//! (<https://arxiv.org/abs/2006.11477>) or over a log-mel spectrogram as in Whisper
//! (<https://arxiv.org/abs/2212.04356>), then a norm, a projection to the model's width, and
//! positions.

use crate::log_mel::LogMelConfig;
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Bool, Tensor, TensorData},
};
use kiln_core::{Backend, Corruption};
use kiln_nn::{
    ConfigError, Conv1d, Conv1dConfig, Dropout, Linear, LinearConfig, Norm, NormConfig,
    PositionalConv, PositionalConvConfig, WaveEncoder, WaveEncoderConfig,
};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From sound to tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontendConfig {
    /// What turns sound into features.
    pub stem: StemConfig,
    /// What tells tokens their place.
    pub positions: PositionalConvConfig,
    /// What the stem's gradient is multiplied by: the base model was pretrained with 0.1.
    pub gradient_scale: f64,
    /// The share dropped of the projected features.
    pub feature_dropout: f64,
    /// The share dropped of the tokens.
    pub dropout: f64,
}

/// What turns sound into features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StemConfig {
    /// Convolutions over the wave.
    Wave(WaveEncoderConfig),
    /// Two convolutions over a log-mel spectrogram, the second of stride 2.
    LogMel(MelStemConfig),
}

/// Two convolutions over a log-mel spectrogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MelStemConfig {
    /// The spectrogram.
    pub spectrogram: LogMelConfig,
    /// Channels of a feature.
    pub channels: usize,
}

impl Default for MelStemConfig {
    fn default() -> Self {
        Self { spectrogram: LogMelConfig::default(), channels: 512 }
    }
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            stem: StemConfig::Wave(WaveEncoderConfig::default()),
            positions: PositionalConvConfig::default(),
            gradient_scale: 1.0,
            feature_dropout: 0.0,
            dropout: 0.0,
        }
    }
}

impl StemConfig {
    /// Channels of a feature.
    pub fn channels(&self) -> usize {
        match self {
            Self::Wave(wave) => wave.width(),
            Self::LogMel(mel) => mel.channels,
        }
    }

    /// How many frames come of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        match self {
            Self::Wave(wave) => wave.frames(samples),
            Self::LogMel(mel) => mel.spectrogram.frames(samples).div_ceil(2),
        }
    }

    /// Samples from one frame to the next.
    pub fn stride(&self) -> usize {
        match self {
            Self::Wave(wave) => wave.stride(),
            Self::LogMel(mel) => 2 * mel.spectrogram.hop,
        }
    }

    /// The fewest samples that give a frame.
    pub fn receptive_field(&self) -> usize {
        match self {
            Self::Wave(wave) => wave.receptive_field(),
            Self::LogMel(mel) => mel.spectrogram.hop,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Wave(wave) => wave.validate().map_err(|error| error.within("wave")),
            Self::LogMel(mel) => {
                ConfigError::positive("log-mel.channels", mel.channels)?;
                let within = |error: ConfigError| error.within("log-mel.spectrogram");
                mel.spectrogram.validate().map_err(within)
            }
        }
    }
}

impl FrontendConfig {
    /// Checks the settings for tokens of `width` features.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        self.stem.validate().map_err(|error| error.within("stem"))?;
        self.positions.validate(width).map_err(|error| error.within("positions"))?;
        if !(0.0..=1.0).contains(&self.gradient_scale) {
            return Err(ConfigError::new("gradient_scale", self.gradient_scale, "0 to 1"));
        }
        ConfigError::dropout("feature_dropout", self.feature_dropout)?;
        ConfigError::dropout("dropout", self.dropout)
    }

    /// A frontend with random weights; with `input_norm`, tokens are normalised at the end.
    pub fn init<B: Backend>(
        &self,
        width: usize,
        norm: NormConfig,
        input_norm: bool,
        device: &B::Device,
    ) -> Frontend<B> {
        let channels = self.stem.channels();
        let stem = match &self.stem {
            StemConfig::Wave(wave) => Stem::Wave(wave.init(device)),
            StemConfig::LogMel(mel) => {
                Stem::LogMel(MelStem::new(mel.spectrogram.bins, mel.channels, device))
            }
        };
        Frontend {
            stem,
            feature_norm: norm.init(channels, device),
            projection: LinearConfig::new(channels, width).init(device),
            mask: Initializer::Uniform { min: 0.0, max: 1.0 }.init([width], device),
            position: self.positions.init(width, device),
            norm: input_norm.then(|| norm.init(width, device)),
            feature_dropout: Dropout::new(self.feature_dropout),
            dropout: Dropout::new(self.dropout),
            gradient_scale: self.gradient_scale,
        }
    }
}

/// From sound to tokens.
#[derive(Module, Debug)]
pub struct Frontend<B: Backend> {
    /// From sound to features.
    pub stem: Stem<B>,
    /// Of the features.
    pub feature_norm: Norm<B>,
    /// From features to tokens.
    pub projection: Linear<B>,
    /// `[width]`, what stands in the place of masked tokens.
    pub mask: Param<Tensor<B, 1>>,
    /// Tells tokens their place.
    pub position: PositionalConv<B>,
    /// Of the tokens, before a backbone whose norms come after its blocks.
    pub norm: Option<Norm<B>>,
    feature_dropout: Dropout,
    dropout: Dropout,
    gradient_scale: f64,
}

/// From sound to features.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has one")]
pub enum Stem<B: Backend> {
    /// Over the wave.
    Wave(WaveEncoder<B>),
    /// Over a log-mel spectrogram.
    LogMel(MelStem<B>),
}

/// Two convolutions over a log-mel spectrogram, each followed by GELU.
#[derive(Module, Debug)]
pub struct MelStem<B: Backend> {
    /// From bands to channels.
    pub conv1: Conv1d<B>,
    /// Of stride 2.
    pub conv2: Conv1d<B>,
}

impl<B: Backend> MelStem<B> {
    /// With random weights.
    pub fn new(bins: usize, channels: usize, device: &B::Device) -> Self {
        let conv = |inputs, stride| {
            let config = Conv1dConfig::new(inputs, channels, 3);
            Conv1dConfig { stride, padding: 1, ..config }.init(device)
        };
        Self { conv1: conv(bins, 1), conv2: conv(channels, 2) }
    }

    /// `[batch, frames, bins]` to `[batch, (frames + 1) / 2, channels]`.
    pub fn forward(&self, mel: Tensor<B, 3>) -> Tensor<B, 3> {
        self.conv2.forward_gelu(self.conv1.forward_gelu(mel))
    }
}

/// Sound as frontends take it.
#[derive(Clone, Debug)]
pub enum Input<B: Backend> {
    /// `[batch, samples]`
    Wave(Tensor<B, 2>),
    /// `[batch, frames, bins]`
    LogMel(Tensor<B, 3>),
}

impl<B: Backend> Input<B> {
    /// Where it lies.
    pub fn device(&self) -> B::Device {
        match self {
            Self::Wave(wave) => wave.device(),
            Self::LogMel(mel) => mel.device(),
        }
    }
}

/// What a stem makes of sound.
#[derive(Clone, Debug)]
pub struct Features<B: Backend> {
    /// `[batch, frames, channels]`
    pub raw: Tensor<B, 3>,
    /// `[batch, frames, channels]`, normalised: what a quantizer codes.
    pub normed: Tensor<B, 3>,
}

/// What is masked before the backbone.
#[derive(Clone, Debug)]
pub struct Mask<B: Backend> {
    /// `[batch, frames]`, true where the learned mask stands in the token's place.
    pub tokens: Option<Tensor<B, 2, Bool>>,
    /// `[batch, width]`, true where a feature is zero in all tokens.
    pub features: Option<Tensor<B, 2, Bool>>,
}

/// A [`Mask`] on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostMask {
    /// `[batch, frames]`
    pub tokens: Option<Array2<bool>>,
    /// `[batch, width]`
    pub features: Option<Array2<bool>>,
}

impl HostMask {
    /// Copies it to a device.
    pub fn upload<B: Backend>(&self, device: &B::Device) -> Mask<B> {
        let upload = |mask: &Array2<bool>| {
            let (rows, columns) = mask.dim();
            let mask = mask.iter().copied().collect::<Vec<_>>();
            Tensor::from_data(TensorData::new(mask, [rows, columns]), device)
        };
        Mask {
            tokens: self.tokens.as_ref().map(upload),
            features: self.features.as_ref().map(upload),
        }
    }
}

impl<B: Backend> Mask<B> {
    /// Nothing masked.
    pub fn none() -> Self {
        Self { tokens: None, features: None }
    }

    /// The frames that a corruption masks.
    pub fn of(corruption: &Corruption<B>) -> Self {
        Self { tokens: corruption.mask.clone(), ..Self::none() }
    }
}

impl<B: Backend> Frontend<B> {
    /// `[batch, frames, channels]` of sound.
    ///
    /// # Panics
    /// When the input is of the other stem's kind, or a wave shorter than
    /// [`StemConfig::receptive_field`].
    pub fn features(&self, input: Input<B>) -> Features<B> {
        let raw = match (&self.stem, input) {
            (Stem::Wave(encoder), Input::Wave(wave)) => encoder.forward(wave),
            (Stem::LogMel(stem), Input::LogMel(mel)) => stem.forward(mel),
            _ => unreachable!("the batch was put together for another frontend"),
        };
        let raw = match self.gradient_scale {
            1.0 => raw,
            0.0 => raw.detach(),
            scale => raw.clone().mul_scalar(scale) + raw.detach().mul_scalar(1.0 - scale),
        };
        Features { normed: self.feature_norm.forward(raw.clone()), raw }
    }

    /// Normalised features, `[batch, frames, channels]`, to tokens, `[batch, frames, width]`.
    /// Padding, `[batch, frames]`, is silenced before positions are told.
    pub fn tokens(
        &self,
        normed: Tensor<B, 3>,
        mask: Mask<B>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let mut x = self.feature_dropout.forward(self.projection.forward(normed));
        let dims = x.dims();
        let over_tokens = |mask: Tensor<B, 2, Bool>| mask.unsqueeze_dim::<3>(2).expand(dims);
        if let Some(tokens) = mask.tokens {
            let embedding = self.mask.val().unsqueeze::<3>().expand(dims);
            x = x.mask_where(over_tokens(tokens), embedding);
        }
        if let Some(features) = mask.features {
            x = x.mask_fill(features.unsqueeze_dim::<3>(1).expand(dims), 0.0);
        }
        if let Some(pad) = mask_pad {
            x = x.mask_fill(over_tokens(pad), 0.0);
        }
        let x = x.clone() + self.position.forward(x);
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.dropout.forward(x)
    }
}
