//! Named configurations.

use crate::{
    config::{AudioConfig, SpeechModelConfig},
    frontend::StemConfig,
};
use kiln_nn::{
    PositionalConvConfig, TransformerConfig, WaveEncoderConfig, WaveLayerConfig, WaveNormKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Named configurations, without heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// For tests and first steps: the published strides with 64 features and 2 blocks.
    Tiny,
    /// wav2vec 2.0 base, 95 million parameters: <https://huggingface.co/facebook/wav2vec2-base>.
    #[serde(rename = "wav2vec2-base")]
    Wav2Vec2Base,
    /// wav2vec 2.0 large as XLSR has it, 317 million parameters:
    /// <https://huggingface.co/facebook/wav2vec2-large-xlsr-53>.
    #[serde(rename = "wav2vec2-large")]
    Wav2Vec2Large,
}

impl Preset {
    /// What it stands for.
    pub fn config(self) -> SpeechModelConfig {
        match self {
            Self::Tiny => tiny(),
            Self::Wav2Vec2Base => SpeechModelConfig {
                audio: AudioConfig { padding_mask: false, ..AudioConfig::default() },
                ..SpeechModelConfig::default()
            },
            Self::Wav2Vec2Large => large(),
        }
    }
}

fn tiny() -> SpeechModelConfig {
    let mut config = SpeechModelConfig { width: 64, ..SpeechModelConfig::default() };
    let layers = WaveEncoderConfig::default().layers;
    config.frontend.stem = StemConfig::Wave(WaveEncoderConfig {
        layers: layers.into_iter().map(|l| WaveLayerConfig { channels: 32, ..l }).collect(),
        norm: WaveNormKind::Layer,
        bias: true,
        ..WaveEncoderConfig::default()
    });
    config.frontend.positions =
        PositionalConvConfig { kernel: 32, groups: 4, ..Default::default() };
    config.backbone = TransformerConfig {
        layers: 2,
        heads: 4,
        hidden: Some(128),
        final_norm: true,
        ..TransformerConfig::default()
    };
    config.frontend.dropout = 0.0;
    config
}

fn large() -> SpeechModelConfig {
    let mut config = SpeechModelConfig { width: 1024, ..SpeechModelConfig::default() };
    config.frontend.stem = StemConfig::Wave(WaveEncoderConfig {
        norm: WaveNormKind::Layer,
        bias: true,
        ..WaveEncoderConfig::default()
    });
    config.backbone = TransformerConfig {
        layers: 24,
        heads: 16,
        pre_norm: true,
        final_norm: true,
        hidden_dropout: 0.0,
        ..config.backbone
    };
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fit_together() {
        for name in ["tiny", "wav2vec2-base", "wav2vec2-large"] {
            let preset: Preset = serde_json::from_value(name.into()).unwrap();
            preset.config().validate().unwrap();
        }
    }
}
