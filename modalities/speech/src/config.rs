//! The configuration of a speech model: parts, put together freely.
//!
//! wav2vec 2.0 is a preset and a name map over these parts, see [`crate::presets`] and
//! [`crate::hub`].

use crate::{
    frontend::{FrontendConfig, HostMask},
    log_mel::LogMelConfig,
    quantizer::QuantizerConfig,
};
use kiln_core::{Layout, Rng};
use kiln_nn::{ConfigError, TransformerConfig};
use kiln_objectives::Spans;
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A speech model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpeechModelConfig {
    /// How sound is prepared.
    pub audio: AudioConfig,
    /// How tokens are made.
    pub frontend: FrontendConfig,
    /// Features of a token.
    pub width: usize,
    /// What tokens pass through. With the norms after its blocks, tokens are normalised before the
    /// first.
    pub backbone: TransformerConfig,
    /// Whether a frame sees only itself and those before it, but for what the frontend's stem sees:
    /// for transcription as speech comes in.
    pub causal: bool,
    /// The CTC head, which transcribes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctc: Option<CtcConfig>,
    /// Codes what the frontend makes, for contrastive training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantizer: Option<QuantizerConfig>,
    /// A head that predicts what each token stands for, for masked training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHeadConfig>,
    /// SpecAugment while the CTC head is trained; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// The published family as which model directories are written; whichever can express the
    /// model if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How sound is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AudioConfig {
    /// Samples a second, Hz.
    pub sample_rate: usize,
    /// Whether waves are given a mean of zero and a variance of one.
    pub normalise: bool,
    /// Whether the model is told which samples are padding. Published models with group norm were
    /// trained without, and take padding for silence.
    pub padding_mask: bool,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self { sample_rate: 16_000, normalise: true, padding_mask: true }
    }
}

/// CTC head, <https://www.cs.toronto.edu/~graves/icml_2006.pdf>.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CtcConfig {
    /// Tokens, the blank included.
    pub vocabulary: usize,
    /// The blank's id.
    pub blank: usize,
    /// How the losses of a batch become one.
    pub reduction: CtcReduction,
    /// Whether transcripts that are too long for their recording cost nothing, rather than
    /// infinity.
    pub zero_infinity: bool,
    /// The share dropped of what the head reads.
    pub dropout: f64,
}

/// How the CTC losses of a batch become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CtcReduction {
    /// A token's share of each, then their mean.
    #[default]
    Mean,
    /// Their sum over the clips, of which the loss is the mean: longer transcripts count more.
    Sum,
}

impl Default for CtcConfig {
    fn default() -> Self {
        Self {
            vocabulary: 32,
            blank: 0,
            reduction: CtcReduction::Mean,
            zero_infinity: true,
            dropout: 0.0,
        }
    }
}

/// What each token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenHeadConfig {
    /// One of so many units, as in HuBERT, <https://arxiv.org/abs/2106.07447>; batches bring them.
    Units(usize),
    /// The frames of a spectrogram that it spans.
    LogMel(LogMelConfig),
    /// What a teacher makes of it, as in data2vec, <https://arxiv.org/abs/2202.03555>: a token's
    /// features.
    Teacher,
}

/// SpecAugment behind the frontend, as in wav2vec 2.0: spans of frames and of features are masked,
/// <https://arxiv.org/abs/1904.08779>.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Over frames; the learned mask stands in their place.
    pub time: Spans,
    /// Over features; they are zero in all frames.
    pub features: Spans,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            time: Spans { probability: 0.05, length: 10, least: 2 },
            features: Spans { probability: 0.0, length: 10, least: 0 },
        }
    }
}

impl AugmentConfig {
    /// Draws which frames of a batch, and which of `width` features, are masked.
    pub fn draw(&self, frames: &Layout, width: usize, rng: &mut Rng) -> HostMask {
        let mut draw = |spans: Spans, layout: &Layout| {
            let shape = (layout.batch, layout.tokens);
            let used = (spans.probability > 0.0).then(|| spans.sample(layout, rng));
            used.and_then(|mask| Array2::from_shape_vec(shape, mask).ok())
        };
        let features = Layout::new(frames.batch, width);
        HostMask { tokens: draw(self.time, frames), features: draw(self.features, &features) }
    }

    /// Whether anything is ever masked.
    pub fn is_used(&self) -> bool {
        self.time.probability > 0.0 || self.features.probability > 0.0
    }
}

/// How a model directory names and orders things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `wav2vec2` of transformers.
    #[serde(rename = "wav2vec2")]
    Wav2Vec2,
    /// Our own, which expresses every model.
    KilnSpeech,
}

impl Default for SpeechModelConfig {
    /// wav2vec 2.0 base without heads.
    fn default() -> Self {
        Self {
            audio: AudioConfig::default(),
            frontend: FrontendConfig { dropout: 0.1, ..FrontendConfig::default() },
            width: 768,
            backbone: TransformerConfig {
                layers: 12,
                heads: 12,
                pre_norm: false,
                attention_dropout: 0.1,
                hidden_dropout: 0.1,
                residual_dropout: 0.1,
                layer_drop: 0.1,
                ..TransformerConfig::default()
            },
            causal: false,
            ctc: None,
            quantizer: None,
            token: None,
            augment: None,
            format: None,
        }
    }
}

impl SpeechModelConfig {
    /// How many frames come of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        self.frontend.stem.frames(samples)
    }

    /// The block of a parameter, counted from the input, and the number of blocks; `None` outside
    /// blocks.
    pub fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        let block = parameter.strip_prefix("backbone.layers.")?.split('.').next()?;
        Some((block.parse().ok()?, self.backbone.layers))
    }

    /// Whether frames learn nothing of those after them from where they stand.
    pub(crate) fn is_one_way(&self) -> bool {
        self.frontend.positions.kernel == 1
    }

    /// Values that a token head gives for each token.
    pub(crate) fn token_outputs(&self) -> Option<usize> {
        self.token.map(|token| match token {
            TokenHeadConfig::Units(count) => count,
            TokenHeadConfig::LogMel(spectrogram) => {
                self.frontend.stem.stride() / spectrogram.hop.max(1) * spectrogram.bins
            }
            TokenHeadConfig::Teacher => self.width,
        })
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// When a setting is out of range or two contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("audio.sample_rate", self.audio.sample_rate)?;
        ConfigError::positive("width", self.width)?;
        self.frontend.validate(self.width).map_err(|error| error.within("frontend"))?;
        self.backbone.validate(self.width).map_err(|error| error.within("backbone"))?;
        if self.causal && !self.is_one_way() {
            let expected = "1 where `causal`: convolutions tell frames of those after them; let \
                            `backbone.positions` tell where frames stand";
            let found = self.frontend.positions.kernel;
            return Err(ConfigError::new("frontend.positions.kernel", found, expected));
        }
        if self.backbone.channel_attention {
            let expected = "false: speech has one channel";
            return Err(ConfigError::new("backbone.channel_attention", true, expected));
        }
        if let Some(ctc) = &self.ctc {
            if ctc.vocabulary < 2 {
                let expected = "at least 2: the blank and a label";
                return Err(ConfigError::new("ctc.vocabulary", ctc.vocabulary, expected));
            }
            if ctc.blank >= ctc.vocabulary {
                let expected = format!("below the vocabulary of {}", ctc.vocabulary);
                return Err(ConfigError::new("ctc.blank", ctc.blank, expected));
            }
            ConfigError::dropout("ctc.dropout", ctc.dropout)?;
        }
        if let Some(quantizer) = &self.quantizer {
            quantizer.validate().map_err(|error| error.within("quantizer"))?;
        }
        if let Some(augment) = &self.augment {
            for (key, spans) in [("time", augment.time), ("features", augment.features)] {
                spans.validate("augment").map_err(|error| {
                    ConfigError::new(format!("augment.{key}"), error.problem, "another one")
                })?;
            }
        }
        self.validate_token()
    }

    fn validate_token(&self) -> Result<(), ConfigError> {
        match &self.token {
            Some(TokenHeadConfig::Units(count)) => ConfigError::positive("token.units", *count),
            Some(TokenHeadConfig::LogMel(spectrogram)) => {
                let within = |error: ConfigError| error.within("token.log-mel");
                spectrogram.validate().map_err(within)?;
                let stride = self.frontend.stem.stride();
                if stride.is_multiple_of(spectrogram.hop) {
                    return Ok(());
                }
                let expected = format!("a divisor of the {stride} samples between tokens");
                Err(ConfigError::new("token.log-mel.hop", spectrogram.hop, expected))
            }
            Some(TokenHeadConfig::Teacher) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_nn::PositionalConvConfig;

    #[test]
    fn defaults_fit_together_and_go_there_and_back() {
        let config = SpeechModelConfig::default();
        config.validate().unwrap();
        assert_eq!(config.frames(16_000), 49);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SpeechModelConfig>(&json).unwrap(), config);
        assert!(serde_json::from_str::<SpeechModelConfig>(r#"{"widht": 3}"#).is_err());
    }

    #[test]
    fn contradictions_name_the_key() {
        let key = |change: &dyn Fn(&mut SpeechModelConfig)| {
            let mut config = SpeechModelConfig::default();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(key(&|c| c.backbone.heads = 5), "backbone.heads");
        let positions = PositionalConvConfig { groups: 5, ..Default::default() };
        assert_eq!(key(&|c| c.frontend.positions = positions), "frontend.positions.groups");
        let ctc = CtcConfig { blank: 40, ..Default::default() };
        assert_eq!(key(&|c| c.ctc = Some(ctc)), "ctc.blank");
        let odd = LogMelConfig { hop: 150, ..Default::default() };
        assert_eq!(key(&|c| c.token = Some(TokenHeadConfig::LogMel(odd))), "token.log-mel.hop");
        let time = Spans { probability: 2.0, ..Default::default() };
        let augment = AugmentConfig { time, ..Default::default() };
        assert_eq!(key(&|c| c.augment = Some(augment)), "augment.time");
    }
}
