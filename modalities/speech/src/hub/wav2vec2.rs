//! wav2vec 2.0, <https://arxiv.org/abs/2006.11477>, as transformers stores it.

mod names;

use crate::{
    config::{AudioConfig, AugmentConfig, CtcConfig, CtcReduction, SpeechModelConfig},
    frontend::{FrontendConfig, StemConfig},
    quantizer::QuantizerConfig,
};
use kiln_hub::{
    Rule,
    family::{Family, known_class},
};
use kiln_nn::{
    AttentionBias, ConfigError, NormConfig, NormKind, PositionalConvConfig, TransformerConfig,
    WaveEncoderConfig, WaveLayerConfig, WaveNormKind, activation_name, activation_named,
};
use kiln_objectives::{Spans, Wav2vec2Contrastive};

const MODEL: &str = "Wav2Vec2Model";
const CTC: &str = "Wav2Vec2ForCTC";
const PRETRAINING: &str = "Wav2Vec2ForPreTraining";

kiln_hub::family_config! {
    /// Its `config.json`, with its own names and defaults; keys that do not matter here are
    /// ignored.
    #[allow(missing_docs, reason = "documented by transformers")]
    pub struct Wav2Vec2Config {
        pub architectures: Option<Vec<String>> = None,
        pub vocab_size: usize = 32,
        pub hidden_size: usize = 768,
        pub num_hidden_layers: usize = 12,
        pub num_attention_heads: usize = 12,
        pub intermediate_size: usize = 3072,
        pub hidden_act: String = "gelu".into(),
        pub hidden_dropout: f64 = 0.1,
        pub activation_dropout: f64 = 0.1,
        pub attention_dropout: f64 = 0.1,
        pub feat_proj_dropout: f64 = 0.0,
        pub feat_quantizer_dropout: f64 = 0.0,
        pub final_dropout: f64 = 0.1,
        pub layerdrop: f64 = 0.1,
        pub layer_norm_eps: f64 = 1e-5,
        pub feat_extract_norm: String = "group".into(),
        pub feat_extract_activation: String = "gelu".into(),
        pub conv_dim: Vec<usize> = vec![512; 7],
        pub conv_stride: Vec<usize> = vec![5, 2, 2, 2, 2, 2, 2],
        pub conv_kernel: Vec<usize> = vec![10, 3, 3, 3, 3, 2, 2],
        pub conv_bias: bool = false,
        pub num_conv_pos_embeddings: usize = 128,
        pub num_conv_pos_embedding_groups: usize = 16,
        pub do_stable_layer_norm: bool = false,
        pub apply_spec_augment: bool = true,
        pub mask_time_prob: f64 = 0.05,
        pub mask_time_length: usize = 10,
        pub mask_time_min_masks: usize = 2,
        pub mask_feature_prob: f64 = 0.0,
        pub mask_feature_length: usize = 10,
        pub mask_feature_min_masks: usize = 0,
        pub num_codevectors_per_group: usize = 320,
        pub num_codevector_groups: usize = 2,
        pub codevector_dim: usize = 256,
        pub proj_codevector_dim: usize = 256,
        pub contrastive_logits_temperature: f64 = 0.1,
        pub num_negatives: usize = 100,
        pub diversity_loss_weight: f64 = 0.1,
        pub ctc_loss_reduction: String = "sum".into(),
        pub ctc_zero_infinity: bool = false,
        pub pad_token_id: usize = 0,
        pub add_adapter: bool = false,
        #[serde(skip_serializing)]
        pub adapter_attn_dim: Option<usize> = None,
    }
}

impl Wav2Vec2Config {
    /// The settings of the contrastive objective that it keeps; the rest as published.
    pub fn objective(&self) -> Wav2vec2Contrastive {
        Wav2vec2Contrastive {
            negatives: self.num_negatives,
            temperature: self.contrastive_logits_temperature,
            diversity_weight: self.diversity_loss_weight,
            ..Wav2vec2Contrastive::default()
        }
    }

    fn wave(&self) -> Result<WaveEncoderConfig, ConfigError> {
        let layers = self.conv_dim.len();
        for (key, found) in [("conv_stride", &self.conv_stride), ("conv_kernel", &self.conv_kernel)]
        {
            if found.len() != layers {
                let expected = format!("{layers} numbers, one for each of conv_dim");
                return Err(ConfigError::new(key, format!("{found:?}"), expected));
            }
        }
        let sizes = self.conv_dim.iter().zip(&self.conv_kernel).zip(&self.conv_stride);
        Ok(WaveEncoderConfig {
            layers: sizes
                .map(|((&channels, &kernel), &stride)| WaveLayerConfig { channels, kernel, stride })
                .collect(),
            norm: match self.feat_extract_norm.as_str() {
                "group" => WaveNormKind::Group,
                "layer" => WaveNormKind::Layer,
                other => {
                    return Err(ConfigError::new("feat_extract_norm", other, "group or layer"));
                }
            },
            bias: self.conv_bias,
            activation: activation_named("feat_extract_activation", &self.feat_extract_activation)?,
        })
    }

    fn augment(&self) -> Option<AugmentConfig> {
        let spans = |probability, length, least| Spans { probability, length, least };
        let augment = AugmentConfig {
            time: spans(self.mask_time_prob, self.mask_time_length, self.mask_time_min_masks),
            features: spans(
                self.mask_feature_prob,
                self.mask_feature_length,
                self.mask_feature_min_masks,
            ),
        };
        (self.apply_spec_augment && augment.is_used()).then_some(augment)
    }

    fn ctc(&self) -> Result<CtcConfig, ConfigError> {
        Ok(CtcConfig {
            vocabulary: self.vocab_size,
            blank: self.pad_token_id,
            reduction: match self.ctc_loss_reduction.as_str() {
                "mean" => CtcReduction::Mean,
                "sum" => CtcReduction::Sum,
                other => return Err(ConfigError::new("ctc_loss_reduction", other, "mean or sum")),
            },
            zero_infinity: self.ctc_zero_infinity,
            dropout: self.final_dropout,
        })
    }
}

/// The family.
#[derive(Debug)]
pub struct Wav2Vec2;

impl Family for Wav2Vec2 {
    type Ours = SpeechModelConfig;
    type Theirs = Wav2Vec2Config;

    fn to_ours(&self, theirs: &Wav2Vec2Config) -> Result<SpeechModelConfig, ConfigError> {
        let class = known_class(&theirs.architectures, &[MODEL, CTC, PRETRAINING])?;
        if theirs.add_adapter {
            return Err(ConfigError::new("add_adapter", true, "false"));
        }
        if let Some(width) = theirs.adapter_attn_dim {
            return Err(ConfigError::new("adapter_attn_dim", width, "null"));
        }
        let wave = theirs.wave()?;
        let activation = wave.activation;
        Ok(SpeechModelConfig {
            // As published models were trained; `preprocessor_config.json` overrides it.
            audio: AudioConfig {
                padding_mask: wave.norm == WaveNormKind::Layer,
                ..AudioConfig::default()
            },
            frontend: FrontendConfig {
                stem: StemConfig::Wave(wave),
                positions: PositionalConvConfig {
                    kernel: theirs.num_conv_pos_embeddings,
                    groups: theirs.num_conv_pos_embedding_groups,
                    activation,
                },
                gradient_scale: 1.0,
                feature_dropout: theirs.feat_proj_dropout,
                dropout: theirs.hidden_dropout,
            },
            width: theirs.hidden_size,
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                hidden: Some(theirs.intermediate_size),
                activation: activation_named("hidden_act", &theirs.hidden_act)?,
                norm: NormConfig { epsilon: theirs.layer_norm_eps, ..NormConfig::default() },
                pre_norm: theirs.do_stable_layer_norm,
                final_norm: theirs.do_stable_layer_norm,
                attention_dropout: theirs.attention_dropout,
                hidden_dropout: theirs.activation_dropout,
                residual_dropout: theirs.hidden_dropout,
                layer_drop: theirs.layerdrop,
                ..TransformerConfig::default()
            },
            causal: false,
            ctc: if class == CTC { Some(theirs.ctc()?) } else { None },
            quantizer: (class == PRETRAINING).then_some(QuantizerConfig {
                groups: theirs.num_codevector_groups,
                entries: theirs.num_codevectors_per_group,
                width: theirs.codevector_dim,
                projection: theirs.proj_codevector_dim,
                dropout: theirs.feat_quantizer_dropout,
            }),
            token: None,
            augment: theirs.augment(),
            format: None,
        })
    }

    fn to_theirs(&self, ours: &SpeechModelConfig) -> Option<(String, Wav2Vec2Config)> {
        let StemConfig::Wave(wave) = &ours.frontend.stem else { return None };
        let backbone = &ours.backbone;
        let plain = ours.token.is_none()
            && !ours.causal
            && !(ours.ctc.is_some() && ours.quantizer.is_some())
            && backbone.is_plain()
            && backbone.pre_norm == backbone.final_norm
            && backbone.norm
                == NormConfig { epsilon: backbone.norm.epsilon, ..NormConfig::default() }
            && backbone.norm.kind == NormKind::Layer
            && backbone.bias
            && backbone.attention_bias == AttentionBias::All
            && backbone.residual_dropout == ours.frontend.dropout
            && wave.activation == ours.frontend.positions.activation;
        if !plain {
            return None;
        }
        let class = match (&ours.ctc, &ours.quantizer) {
            (Some(_), _) => CTC,
            (None, Some(_)) => PRETRAINING,
            (None, None) => MODEL,
        };
        let default = Wav2Vec2Config::default();
        let ctc = ours.ctc.unwrap_or(CtcConfig {
            vocabulary: default.vocab_size,
            dropout: default.final_dropout,
            reduction: CtcReduction::Sum,
            zero_infinity: false,
            ..CtcConfig::default()
        });
        let quantizer = ours.quantizer.unwrap_or_default();
        // With all probabilities 0, transformers would leave out the mask embedding.
        let used = ours.augment.filter(AugmentConfig::is_used);
        let augment = used.unwrap_or_default();
        let each = |value: fn(&WaveLayerConfig) -> usize| wave.layers.iter().map(value).collect();
        let theirs = Wav2Vec2Config {
            vocab_size: ctc.vocabulary,
            hidden_size: ours.width,
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            intermediate_size: backbone.hidden.unwrap_or(4 * ours.width),
            hidden_act: activation_name(backbone.activation).into(),
            hidden_dropout: backbone.residual_dropout,
            activation_dropout: backbone.hidden_dropout,
            attention_dropout: backbone.attention_dropout,
            feat_proj_dropout: ours.frontend.feature_dropout,
            feat_quantizer_dropout: quantizer.dropout,
            final_dropout: ctc.dropout,
            layerdrop: backbone.layer_drop,
            layer_norm_eps: backbone.norm.epsilon,
            feat_extract_norm: match wave.norm {
                WaveNormKind::Group => "group",
                WaveNormKind::Layer => "layer",
            }
            .into(),
            feat_extract_activation: activation_name(wave.activation).into(),
            conv_dim: each(|layer| layer.channels),
            conv_stride: each(|layer| layer.stride),
            conv_kernel: each(|layer| layer.kernel),
            conv_bias: wave.bias,
            num_conv_pos_embeddings: ours.frontend.positions.kernel,
            num_conv_pos_embedding_groups: ours.frontend.positions.groups,
            do_stable_layer_norm: backbone.pre_norm,
            apply_spec_augment: used.is_some(),
            mask_time_prob: augment.time.probability,
            mask_time_length: augment.time.length,
            mask_time_min_masks: augment.time.least,
            mask_feature_prob: augment.features.probability,
            mask_feature_length: augment.features.length,
            mask_feature_min_masks: augment.features.least,
            num_codevectors_per_group: quantizer.entries,
            num_codevector_groups: quantizer.groups,
            codevector_dim: quantizer.width,
            proj_codevector_dim: quantizer.projection,
            ctc_loss_reduction: match ctc.reduction {
                CtcReduction::Mean => "mean",
                CtcReduction::Sum => "sum",
            }
            .into(),
            ctc_zero_infinity: ctc.zero_infinity,
            pad_token_id: ctc.blank,
            ..default
        };
        Some((class.into(), theirs))
    }

    fn rules(&self, config: &SpeechModelConfig) -> Vec<Rule> {
        names::rules(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |theirs: Wav2Vec2Config| Wav2Vec2.to_ours(&theirs).unwrap_err().key;
        let default = Wav2Vec2Config::default;
        let architectures = Some(vec!["Wav2Vec2ForXVector".to_owned()]);
        assert_eq!(refused(Wav2Vec2Config { architectures, ..default() }), "architectures");
        let adapter_attn_dim = Some(16);
        assert_eq!(refused(Wav2Vec2Config { adapter_attn_dim, ..default() }), "adapter_attn_dim");
        assert_eq!(refused(Wav2Vec2Config { conv_stride: vec![5], ..default() }), "conv_stride");
        let feat_extract_norm = "batch".into();
        assert_eq!(refused(Wav2Vec2Config { feat_extract_norm, ..default() }), "feat_extract_norm");
    }

    #[test]
    fn the_defaults_are_the_base_model() {
        let ours = Wav2Vec2.to_ours(&Wav2Vec2Config::default()).unwrap();
        let base = crate::Preset::Wav2Vec2Base.config();
        let spelt = SpeechModelConfig {
            backbone: TransformerConfig { hidden: Some(3072), ..base.backbone.clone() },
            augment: Some(AugmentConfig::default()),
            ..base
        };
        assert_eq!(ours, spelt);
    }
}
