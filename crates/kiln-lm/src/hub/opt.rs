//! OPT: <https://arxiv.org/abs/2205.01068>.

use super::decoder::{Classes, DecoderKeys, head_rules};
use crate::config::{EmbeddingConfig, TextModelConfig};
use kiln_hub::{
    Rule,
    family::{Family, refuse},
};
use kiln_nn::{AttentionBias, ConfigError, TransformerConfig, activation_name, activation_named};

/// Rows of the table of positions before that of the first token: one of no use, then padding's.
const OFFSET: usize = 2;

kiln_hub::family_config! {
    /// Its `config.json`, with its names; keys that do not matter here are ignored.
    pub(super) struct Config {
        vocab_size: usize = 50_272,
        hidden_size: usize = 768,
        word_embed_proj_dim: Option<usize> = None,
        ffn_dim: usize = 3072,
        num_hidden_layers: usize = 12,
        num_attention_heads: usize = 12,
        max_position_embeddings: usize = 2048,
        activation_function: String = "relu".into(),
        do_layer_norm_before: bool = true,
        #[serde(rename = "_remove_final_layer_norm")]
        remove_final_layer_norm: bool = false,
        layer_norm_elementwise_affine: bool = true,
        enable_bias: bool = true,
        dropout: f64 = 0.1,
        attention_dropout: f64 = 0.0,
        layerdrop: f64 = 0.0,
        #[serde(flatten)]
        keys: DecoderKeys = DecoderKeys::new(true, Some(1), Some(2), Some(2)),
    }
}

/// The family.
pub(super) struct Opt;

const CLASSES: Classes = ["OPTModel", "OPTForCausalLM", "OPTForSequenceClassification"];

impl Family for Opt {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        refuse(&[("layer_norm_elementwise_affine", theirs.layer_norm_elementwise_affine, "true")])?;
        if let Some(width) = theirs.word_embed_proj_dim.filter(|width| *width != theirs.hidden_size)
        {
            let expected = format!("the hidden_size of {}", theirs.hidden_size);
            return Err(ConfigError::new("word_embed_proj_dim", width, expected));
        }
        let ours = TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.hidden_size,
            embedding: EmbeddingConfig {
                positions: theirs.max_position_embeddings.saturating_add(OFFSET),
                first_position: OFFSET,
                ..EmbeddingConfig::default()
            },
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                hidden: Some(theirs.ffn_dim),
                activation: activation_named("activation_function", &theirs.activation_function)?,
                pre_norm: theirs.do_layer_norm_before,
                final_norm: theirs.do_layer_norm_before && !theirs.remove_final_layer_norm,
                bias: theirs.enable_bias,
                attention_bias: if theirs.enable_bias {
                    AttentionBias::All
                } else {
                    AttentionBias::None
                },
                attention_dropout: theirs.attention_dropout,
                residual_dropout: theirs.dropout,
                layer_drop: theirs.layerdrop,
                ..TransformerConfig::default()
            },
            ..TextModelConfig::default()
        };
        theirs.keys.apply(CLASSES, ours)
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let (class, keys) = DecoderKeys::of(ours, CLASSES)?;
        let backbone = &ours.backbone;
        let theirs = Config {
            vocab_size: ours.vocabulary,
            hidden_size: ours.width,
            word_embed_proj_dim: Some(ours.width),
            ffn_dim: backbone.hidden.unwrap_or(4 * ours.width),
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            max_position_embeddings: ours.embedding.positions.checked_sub(OFFSET)?,
            activation_function: activation_name(backbone.activation).into(),
            do_layer_norm_before: backbone.pre_norm,
            remove_final_layer_norm: backbone.pre_norm && !backbone.final_norm,
            enable_bias: backbone.bias,
            dropout: backbone.residual_dropout,
            attention_dropout: backbone.attention_dropout,
            layerdrop: backbone.layer_drop,
            keys,
            ..Config::default()
        };
        Some((class, theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let inside = r"^(embed_tokens|embed_positions|layers|final_layer_norm)\.";
        let headed = ours.language.is_some() || ours.task.is_some();
        let outside = if headed { "model.decoder.$1." } else { "decoder.$1." };
        let [language, texts] = head_rules(ours);
        vec![
            Rule::Ignored { theirs: r"(^|\.)decoder\.version$" },
            Rule::Regex {
                load: Some((r"^(model\.)?decoder\.", "")),
                save: Some((inside, outside)),
            },
            language,
            texts,
            Rule::Prefix { theirs: "embed_tokens.", ours: "embedding.words." },
            Rule::Prefix { theirs: "embed_positions.", ours: "embedding.positions." },
            // Before the blocks, which have norms of the same name.
            Rule::Prefix { theirs: "final_layer_norm.", ours: "backbone.norm." },
            Rule::Prefix { theirs: "layers.", ours: "backbone.layers." },
            Rule::Segments { theirs: "self_attn_layer_norm", ours: "attention_norm" },
            Rule::Segments { theirs: "final_layer_norm", ours: "feed_forward_norm" },
            Rule::Attention {
                theirs: "self_attn",
                projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
            },
            Rule::Segments { theirs: "fc1", ours: "feed_forward.hidden" },
            Rule::Segments { theirs: "fc2", ours: "feed_forward.output" },
        ]
    }
}
