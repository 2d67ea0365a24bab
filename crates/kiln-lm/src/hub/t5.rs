//! T5: <https://arxiv.org/abs/1910.10683>, with either feed-forward.

use super::decoder::language_rule;
use crate::config::{EmbeddingConfig, LanguageHeadConfig, SpecialIds, TextModelConfig};
use kiln_hub::{
    Rule,
    family::{Family, class, refuse},
};
use kiln_nn::{
    AttentionBias, ConfigError, NormConfig, NormKind, PositionConfig, RelativeConfig,
    TransformerConfig, activation_name, activation_named,
};

/// The family.
pub(super) struct T5;

kiln_hub::family_config! {
    /// Its `config.json`, with its names; keys that do not matter here are ignored.
    pub(super) struct Config {
        #[serde(skip_serializing)]
        model_type: String = "t5".into(),
        #[serde(skip_serializing)]
        architectures: Option<Vec<String>> = None,
        vocab_size: usize = 32_128,
        d_model: usize = 512,
        d_kv: usize = 64,
        d_ff: usize = 2048,
        num_layers: usize = 6,
        num_decoder_layers: Option<usize> = None,
        num_heads: usize = 8,
        relative_attention_num_buckets: usize = 32,
        relative_attention_max_distance: usize = 128,
        dropout_rate: f64 = 0.1,
        layer_norm_epsilon: f64 = 1e-6,
        feed_forward_proj: String = "relu".into(),
        is_encoder_decoder: bool = true,
        tie_word_embeddings: bool = true,
        pad_token_id: Option<u32> = Some(0),
        eos_token_id: Option<u32> = Some(1),
        decoder_start_token_id: Option<u32> = Some(0),
    }
}

const GENERATION: &str = "T5ForConditionalGeneration";
/// The encoder by itself: EncT5, <https://arxiv.org/abs/2110.08426>.
const ENCODER: &str = "T5EncoderModel";

impl Family for T5 {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        refuse(&[(
            "model_type",
            theirs.model_type != "umt5",
            "t5 or mt5: umT5 has positions a layer",
        )])?;
        let class = class(&theirs.architectures, GENERATION);
        let alone = [ENCODER, "MT5EncoderModel"].contains(&class);
        if !alone && ![GENERATION, "MT5ForConditionalGeneration"].contains(&class) {
            let expected = format!("{GENERATION} or {ENCODER}");
            return Err(ConfigError::new("architectures", class, expected));
        }
        refuse(&[("is_encoder_decoder", alone || theirs.is_encoder_decoder, "true")])?;
        // `gated-gelu` of T5 1.1 is the tanh approximation of GELU.
        let (gated, name) = match theirs.feed_forward_proj.strip_prefix("gated-") {
            Some("gelu") => (true, "gelu_new"),
            Some(name) => (true, name),
            None => (false, &theirs.feed_forward_proj[..]),
        };
        let blocks = TransformerConfig {
            layers: theirs.num_layers,
            heads: theirs.num_heads,
            head_width: Some(theirs.d_kv),
            attention_scale: Some(1.0),
            hidden: Some(theirs.d_ff),
            activation: activation_named("feed_forward_proj", name)?,
            gated,
            bias: false,
            attention_bias: AttentionBias::None,
            norm: NormConfig {
                epsilon: theirs.layer_norm_epsilon,
                ..NormConfig::new(NormKind::Rms)
            },
            final_norm: true,
            positions: Some(PositionConfig::Relative(RelativeConfig {
                buckets: theirs.relative_attention_num_buckets,
                distance: theirs.relative_attention_max_distance,
            })),
            attention_dropout: theirs.dropout_rate,
            hidden_dropout: theirs.dropout_rate,
            residual_dropout: theirs.dropout_rate,
            ..TransformerConfig::default()
        };
        let layers = theirs.num_decoder_layers.unwrap_or(theirs.num_layers);
        let scale =
            if theirs.tie_word_embeddings { (theirs.d_model as f64).powf(-0.5) } else { 1.0 };
        Ok(TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.d_model,
            embedding: EmbeddingConfig {
                positions: 0,
                dropout: theirs.dropout_rate,
                ..EmbeddingConfig::default()
            },
            decoder: (!alone).then(|| TransformerConfig { layers, ..blocks.clone() }),
            backbone: blocks,
            causal: false,
            language: (!alone).then(|| LanguageHeadConfig {
                tied: theirs.tie_word_embeddings,
                scale,
                ..LanguageHeadConfig::default()
            }),
            special: SpecialIds {
                pad: theirs.pad_token_id,
                eos: theirs.eos_token_id,
                decoder_start: theirs.decoder_start_token_id,
                ..SpecialIds::default()
            },
            initial_deviation: Some(0.05),
            ..TextModelConfig::default()
        })
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let (backbone, decoder) = (&ours.backbone, ours.decoder.as_ref());
        let Some(PositionConfig::Relative(relative)) = &backbone.positions else { return None };
        let name = match activation_name(backbone.activation) {
            "gelu_pytorch_tanh" if backbone.gated => "gelu",
            "gelu_pytorch_tanh" => "gelu_new",
            other => other,
        };
        let theirs = Config {
            vocab_size: ours.vocabulary,
            d_model: ours.width,
            d_kv: backbone.head_width?,
            d_ff: backbone.hidden.unwrap_or(4 * ours.width),
            num_layers: backbone.layers,
            num_decoder_layers: decoder.map(|decoder| decoder.layers),
            is_encoder_decoder: decoder.is_some(),
            num_heads: backbone.heads,
            relative_attention_num_buckets: relative.buckets,
            relative_attention_max_distance: relative.distance,
            dropout_rate: ours.embedding.dropout,
            layer_norm_epsilon: backbone.norm.epsilon,
            feed_forward_proj: if backbone.gated { format!("gated-{name}") } else { name.into() },
            tie_word_embeddings: ours.language.is_none_or(|head| head.tied),
            pad_token_id: ours.special.pad,
            eos_token_id: ours.special.eos,
            decoder_start_token_id: ours.special.decoder_start,
            ..Config::default()
        };
        match (decoder, &ours.language) {
            (Some(_), Some(_)) => Some((GENERATION.into(), theirs)),
            (None, None) => Some((ENCODER.into(), theirs)),
            _ => None,
        }
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let head = language_rule(ours);
        let feed_forward: &[Rule] = if ours.backbone.gated {
            &[
                Rule::Segments { theirs: "feed_forward.wi_0", ours: "feed_forward.hidden" },
                Rule::Segments { theirs: "feed_forward.wi_1", ours: "feed_forward.gate" },
            ]
        } else {
            &[Rule::Segments { theirs: "feed_forward.wi", ours: "feed_forward.hidden" }]
        };
        let mut rules = vec![
            Rule::Ignored { theirs: r"^(encoder|decoder)\.embed_tokens\.weight$" },
            // Early checkpoints have an unused table in cross-attention.
            Rule::Ignored { theirs: r"EncDecAttention\.relative_attention_bias" },
            head,
            Rule::Prefix { theirs: "shared.", ours: "embedding.words." },
            Rule::Path {
                theirs: "*.block.0.layer.0.SelfAttention.relative_attention_bias",
                ours: "*.relative",
            },
        ];
        rules.extend(SUBLAYERS);
        rules.extend(feed_forward);
        rules.extend([
            Rule::Segments { theirs: "feed_forward.wo", ours: "feed_forward.output" },
            Rule::Attention { theirs: "attention", projections: ["q", "k", "v", "o"] },
            Rule::Path { theirs: "*.final_layer_norm", ours: "*.norm" },
            Rule::Prefix { theirs: "encoder.", ours: "backbone." },
        ]);
        rules
    }
}

/// A block is a list of sub-layers: self-attention, in the decoder cross-attention, feed-forward.
const SUBLAYERS: &[Rule] = &[
    Rule::Path { theirs: "*.block.*.layer.0.layer_norm", ours: "*.layers.*.attention_norm" },
    Rule::Path { theirs: "*.block.*.layer.0.SelfAttention", ours: "*.layers.*.attention" },
    Rule::Path {
        theirs: "decoder.block.*.layer.1.layer_norm",
        ours: "decoder.layers.*.cross_attention.norm",
    },
    Rule::Path {
        theirs: "decoder.block.*.layer.1.EncDecAttention",
        ours: "decoder.layers.*.cross_attention.attention",
    },
    Rule::Path {
        theirs: "encoder.block.*.layer.1.layer_norm",
        ours: "encoder.layers.*.feed_forward_norm",
    },
    Rule::Path {
        theirs: "encoder.block.*.layer.1.DenseReluDense",
        ours: "encoder.layers.*.feed_forward",
    },
    Rule::Path {
        theirs: "decoder.block.*.layer.2.layer_norm",
        ours: "decoder.layers.*.feed_forward_norm",
    },
    Rule::Path {
        theirs: "decoder.block.*.layer.2.DenseReluDense",
        ours: "decoder.layers.*.feed_forward",
    },
];
