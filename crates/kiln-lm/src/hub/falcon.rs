//! Falcon: <https://arxiv.org/abs/2311.16867>.

use super::{
    decoder::{Classes, DecoderKeys, head_rules, inner_rule},
    rope::RopeKeys,
};
use crate::config::{EmbeddingConfig, TextModelConfig};
use kiln_hub::{
    Rule,
    family::{Family, refuse},
};
use kiln_nn::{
    AttentionBias, ConfigError, NormConfig, PositionConfig, TransformerConfig, activation_name,
    activation_named,
};

kiln_hub::family_config! {
    /// Its `config.json`, with its names; keys that do not matter here are ignored.
    pub(super) struct Config {
        vocab_size: usize = 65_024,
        hidden_size: usize = 4544,
        num_hidden_layers: usize = 32,
        num_attention_heads: usize = 71,
        /// Told by the newer architecture only; `multi_query` is of one head.
        #[serde(skip_serializing_if = "Option::is_none")]
        num_kv_heads: Option<usize> = None,
        new_decoder_architecture: bool = false,
        multi_query: bool = true,
        parallel_attn: bool = true,
        #[serde(skip_serializing_if = "Option::is_none")]
        num_ln_in_parallel_attn: Option<usize> = None,
        ffn_hidden_size: Option<usize> = None,
        activation: String = "gelu".into(),
        bias: bool = false,
        alibi: bool = false,
        max_position_embeddings: usize = 2048,
        layer_norm_epsilon: f64 = 1e-5,
        hidden_dropout: f64 = 0.0,
        attention_dropout: f64 = 0.0,
        #[serde(flatten)]
        rope: RopeKeys = RopeKeys::default(),
        #[serde(flatten)]
        keys: DecoderKeys = DecoderKeys::new(true, None, Some(11), Some(11)),
    }
}

impl Config {
    /// Heads of keys and values.
    fn kv_heads(&self) -> Result<usize, ConfigError> {
        let (heads, told) = (self.num_attention_heads, self.num_kv_heads);
        match (self.new_decoder_architecture, self.multi_query) {
            (true, _) => Ok(told.unwrap_or(heads)),
            (false, true) => Ok(1),
            (false, false) => match told.filter(|told| *told != heads) {
                Some(told) => {
                    let expected = format!("{heads}, unless `new_decoder_architecture`");
                    Err(ConfigError::new("num_kv_heads", told, expected))
                }
                None => Ok(heads),
            },
        }
    }

    /// Whether attention and the feed-forward beside it read through one norm.
    fn shared_norm(&self) -> Result<bool, ConfigError> {
        let new = self.new_decoder_architecture;
        match self.num_ln_in_parallel_attn {
            _ if !self.parallel_attn => Ok(false),
            None => Ok(!new),
            Some(1) => Ok(true),
            Some(2) if new => Ok(false),
            Some(norms) => {
                let expected = if new { "1 or 2" } else { "1, unless `new_decoder_architecture`" };
                Err(ConfigError::new("num_ln_in_parallel_attn", norms, expected))
            }
        }
    }
}

/// The family.
pub(super) struct Falcon;

const CLASSES: Classes = ["FalconModel", "FalconForCausalLM", "FalconForSequenceClassification"];

impl Family for Falcon {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        let new = theirs.new_decoder_architecture;
        refuse(&[
            // Falcon scales ALiBi by the root of the head width, in bfloat16.
            ("alibi", !theirs.alibi, "false"),
            ("parallel_attn", theirs.parallel_attn || !new, "true with `new_decoder_architecture`"),
        ])?;
        let heads = theirs.num_attention_heads;
        let rotary = theirs.rope.rotary(theirs.max_position_embeddings)?;
        let ours = TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.hidden_size,
            embedding: EmbeddingConfig { positions: 0, ..EmbeddingConfig::default() },
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads,
                kv_heads: Some(theirs.kv_heads()?).filter(|shared| *shared != heads),
                hidden: theirs.ffn_hidden_size,
                activation: activation_named("activation", &theirs.activation)?,
                bias: theirs.bias,
                attention_bias: if theirs.bias { AttentionBias::All } else { AttentionBias::None },
                norm: NormConfig { epsilon: theirs.layer_norm_epsilon, ..NormConfig::default() },
                final_norm: true,
                parallel: theirs.parallel_attn,
                shared_norm: theirs.shared_norm()?,
                positions: Some(PositionConfig::Rotary(rotary)),
                // Applied as the key says; `transformers` has none with rotary positions.
                attention_dropout: theirs.attention_dropout,
                residual_dropout: theirs.hidden_dropout,
                ..TransformerConfig::default()
            },
            ..TextModelConfig::default()
        };
        theirs.keys.apply(CLASSES, ours)
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let (class, keys) = DecoderKeys::of(ours, CLASSES)?;
        let backbone = &ours.backbone;
        let Some(PositionConfig::Rotary(rotary)) = &backbone.positions else { return None };
        let (rope, longest) = RopeKeys::of(rotary);
        let default = Config::default();
        let kv_heads = backbone.kv_heads.unwrap_or(backbone.heads);
        let multi_query = kv_heads == 1 && backbone.heads > 1;
        let two_norms = backbone.parallel && !backbone.shared_norm;
        // The older architecture where it can express the model.
        let new = two_norms || kv_heads != backbone.heads && !multi_query;
        let theirs = Config {
            vocab_size: ours.vocabulary,
            hidden_size: ours.width,
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            num_kv_heads: new.then_some(kv_heads),
            new_decoder_architecture: new,
            multi_query,
            parallel_attn: backbone.parallel,
            num_ln_in_parallel_attn: new.then_some(if two_norms { 2 } else { 1 }),
            ffn_hidden_size: backbone.hidden,
            activation: activation_name(backbone.activation).into(),
            bias: backbone.bias,
            max_position_embeddings: longest.unwrap_or(default.max_position_embeddings),
            layer_norm_epsilon: backbone.norm.epsilon,
            hidden_dropout: backbone.residual_dropout,
            attention_dropout: backbone.attention_dropout,
            rope,
            keys,
            ..default
        };
        Some((class, theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let backbone = &ours.backbone;
        let groups = backbone.kv_heads.unwrap_or(backbone.heads).max(1);
        let [attention_norm, feed_forward_norm] = if backbone.parallel && !backbone.shared_norm {
            ["ln_attn", "ln_mlp"]
        } else {
            ["input_layernorm", "post_attention_layernorm"]
        };
        let [language, texts] = head_rules(ours);
        vec![
            Rule::Ignored { theirs: r"(^|\.)rotary_emb\.inv_freq$" },
            // Multi-query attention has one group, multi-head attention one for each head.
            Rule::Grouped {
                theirs: "self_attention.query_key_value",
                ours: &["attention.query", "attention.key", "attention.value"],
                groups,
                first: backbone.heads / groups,
            },
            inner_rule(
                ours,
                r"^transformer\.",
                (r"^(word_embeddings|h|ln_f)\.", "transformer.$1."),
            ),
            language,
            texts,
            Rule::Prefix { theirs: "word_embeddings.", ours: "embedding.words." },
            Rule::Prefix { theirs: "ln_f.", ours: "backbone.norm." },
            Rule::Prefix { theirs: "h.", ours: "backbone.layers." },
            Rule::Segments { theirs: attention_norm, ours: "attention_norm" },
            Rule::Segments { theirs: feed_forward_norm, ours: "feed_forward_norm" },
            Rule::Segments { theirs: "self_attention.dense", ours: "attention.output" },
            Rule::Segments { theirs: "mlp.dense_h_to_4h", ours: "feed_forward.hidden" },
            Rule::Segments { theirs: "mlp.dense_4h_to_h", ours: "feed_forward.output" },
        ]
    }
}
