//! Presets: named configurations.

use crate::config::{EmbeddingConfig, LanguageHeadConfig, TextModelConfig};
use kiln_nn::{
    Activation, AttentionBias, LocalConfig, NormConfig, NormKind, PositionConfig, RelativeConfig,
    RotaryConfig, TransformerConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Presets: named configurations, with a language head; the vocabulary is the tokenizer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A small decoder for first steps: 4 blocks of 128 features.
    Tiny,
    /// The same as an encoder.
    TinyEncoder,
    /// The same as an encoder-decoder, 2 blocks and 2.
    TinyEncoderDecoder,
    /// A decoder of Llama's kind: 4 blocks of 128 features, rotary positions, gated.
    TinyLlama,
    /// An encoder of ModernBERT's kind: 4 blocks of 128 features, one in three with global attention.
    TinyModernBert,
    /// An encoder of MosaicBERT's kind (<https://arxiv.org/abs/2312.17482>): 4 blocks of 128
    /// features, positions by ALiBi, gated.
    TinyMosaicBert,
    /// nanoGPT's setting for characters of Shakespeare, 10.7 million parameters:
    /// <https://github.com/karpathy/nanoGPT>.
    NanoGptCharacters,
    /// GPT-2 small, 124 million parameters: <https://huggingface.co/openai-community/gpt2>.
    Gpt2,
    /// BERT base, 110 million parameters: <https://huggingface.co/google-bert/bert-base-uncased>.
    BertBase,
    /// T5 1.1 small, 77 million parameters: <https://huggingface.co/google/t5-v1_1-small>.
    T5Small,
}

impl Preset {
    /// Its configuration.
    pub fn config(self) -> TextModelConfig {
        let tiny = TextModelConfig::default();
        let encoder = |config: TextModelConfig| TextModelConfig { causal: false, ..config };
        let rotary = |base, local_base| {
            Some(PositionConfig::Rotary(RotaryConfig { base, local_base, scaling: None }))
        };
        let no_positions = EmbeddingConfig { positions: 0, ..EmbeddingConfig::default() };
        match self {
            Self::Tiny => tiny,
            Self::TinyEncoder => encoder(tiny),
            Self::TinyEncoderDecoder => {
                let half = TransformerConfig { layers: 2, ..tiny.backbone.clone() };
                encoder(TextModelConfig { backbone: half.clone(), decoder: Some(half), ..tiny })
            }
            Self::TinyLlama => TextModelConfig {
                embedding: no_positions,
                backbone: TransformerConfig {
                    hidden: Some(344),
                    activation: Activation::Silu,
                    gated: true,
                    bias: false,
                    attention_bias: AttentionBias::None,
                    norm: NormConfig::new(NormKind::Rms),
                    positions: rotary(10_000.0, None),
                    ..tiny.backbone.clone()
                },
                ..tiny
            },
            Self::TinyModernBert => encoder(TextModelConfig {
                embedding: EmbeddingConfig { norm: true, ..no_positions },
                backbone: TransformerConfig {
                    hidden: Some(192),
                    gated: true,
                    bias: false,
                    attention_bias: AttentionBias::None,
                    norm: NormConfig { bias: false, ..NormConfig::default() },
                    first_norm: false,
                    positions: rotary(160_000.0, Some(10_000.0)),
                    local: Some(LocalConfig { window: 65, global_every: 3 }),
                    ..tiny.backbone.clone()
                },
                language: Some(LanguageHeadConfig {
                    transform: Some(Activation::Gelu),
                    transform_bias: false,
                    bias: true,
                    ..LanguageHeadConfig::default()
                }),
                ..tiny
            }),
            Self::TinyMosaicBert => encoder(TextModelConfig {
                embedding: EmbeddingConfig { norm: true, ..no_positions },
                backbone: TransformerConfig {
                    gated: true,
                    pre_norm: false,
                    final_norm: false,
                    positions: Some(PositionConfig::Alibi),
                    ..tiny.backbone.clone()
                },
                ..tiny
            }),
            Self::NanoGptCharacters => TextModelConfig {
                width: 384,
                embedding: EmbeddingConfig {
                    positions: 256,
                    dropout: 0.2,
                    ..EmbeddingConfig::default()
                },
                backbone: TransformerConfig {
                    layers: 6,
                    heads: 6,
                    bias: false,
                    attention_bias: AttentionBias::None,
                    norm: NormConfig { bias: false, ..NormConfig::default() },
                    attention_dropout: 0.2,
                    residual_dropout: 0.2,
                    ..tiny.backbone.clone()
                },
                ..tiny
            },
            Self::Gpt2 => TextModelConfig {
                vocabulary: 50_257,
                width: 768,
                embedding: EmbeddingConfig {
                    positions: 1024,
                    dropout: 0.1,
                    ..EmbeddingConfig::default()
                },
                backbone: TransformerConfig {
                    layers: 12,
                    heads: 12,
                    activation: Activation::GeluTanh,
                    attention_dropout: 0.1,
                    residual_dropout: 0.1,
                    ..tiny.backbone.clone()
                },
                ..tiny
            },
            Self::BertBase => encoder(TextModelConfig {
                vocabulary: 30_522,
                width: 768,
                embedding: EmbeddingConfig {
                    types: 2,
                    norm: true,
                    dropout: 0.1,
                    ..EmbeddingConfig::default()
                },
                backbone: TransformerConfig {
                    layers: 12,
                    heads: 12,
                    hidden: Some(3072),
                    pre_norm: false,
                    final_norm: false,
                    norm: NormConfig { epsilon: 1e-12, ..NormConfig::default() },
                    attention_dropout: 0.1,
                    residual_dropout: 0.1,
                    ..tiny.backbone.clone()
                },
                language: Some(LanguageHeadConfig {
                    transform: Some(Activation::Gelu),
                    bias: true,
                    ..LanguageHeadConfig::default()
                }),
                ..tiny
            }),
            Self::T5Small => t5_small(),
        }
    }
}

fn t5_small() -> TextModelConfig {
    let blocks = TransformerConfig {
        layers: 8,
        heads: 6,
        head_width: Some(64),
        attention_scale: Some(1.0),
        hidden: Some(1024),
        activation: Activation::GeluTanh,
        gated: true,
        bias: false,
        attention_bias: AttentionBias::None,
        norm: NormConfig { epsilon: 1e-6, ..NormConfig::new(NormKind::Rms) },
        final_norm: true,
        positions: Some(PositionConfig::Relative(RelativeConfig::default())),
        attention_dropout: 0.1,
        hidden_dropout: 0.1,
        residual_dropout: 0.1,
        ..TransformerConfig::default()
    };
    TextModelConfig {
        vocabulary: 32_128,
        width: 512,
        embedding: EmbeddingConfig { positions: 0, dropout: 0.1, ..EmbeddingConfig::default() },
        backbone: blocks.clone(),
        decoder: Some(blocks),
        causal: false,
        language: Some(LanguageHeadConfig { tied: false, ..LanguageHeadConfig::default() }),
        ..TextModelConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::KILN;
    use kiln_hub::family::config_json;

    #[test]
    fn presets_fit_together_and_published_ones_are_their_families() {
        let expected = [
            (Preset::Tiny, "gpt2"),
            (Preset::TinyEncoder, KILN),
            (Preset::TinyEncoderDecoder, KILN),
            (Preset::TinyLlama, "llama"),
            (Preset::TinyModernBert, "modernbert"),
            (Preset::TinyMosaicBert, KILN),
            (Preset::NanoGptCharacters, KILN),
            (Preset::Gpt2, "gpt2"),
            (Preset::BertBase, "bert"),
            (Preset::T5Small, "t5"),
        ];
        for (preset, model_type) in expected {
            let config = preset.config();
            config.validate().unwrap();
            assert_eq!(config_json(&config).1["model_type"], model_type, "{preset:?}");
        }
    }
}
