//! Llama (<https://arxiv.org/abs/2302.13971>) and Qwen2 (<https://arxiv.org/abs/2407.10671>).

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
    AttentionBias, ConfigError, NormConfig, NormKind, PositionConfig, TransformerConfig,
    activation_name, activation_named,
};

/// Llama, or Qwen2, which has biases in attention.
pub(super) struct Llama {
    classes: Classes,
    biased: bool,
}

pub(super) const LLAMA: Llama = Llama {
    classes: ["LlamaModel", "LlamaForCausalLM", "LlamaForSequenceClassification"],
    biased: false,
};

pub(super) const QWEN2: Llama = Llama {
    classes: ["Qwen2Model", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"],
    biased: true,
};

kiln_hub::family_config! {
    /// Their `config.json`, with their names; keys that do not matter here are ignored.
    pub(super) struct Config {
        vocab_size: usize = 32_000,
        hidden_size: usize = 4096,
        intermediate_size: usize = 11_008,
        num_hidden_layers: usize = 32,
        num_attention_heads: usize = 32,
        num_key_value_heads: Option<usize> = None,
        #[serde(skip_serializing_if = "Option::is_none")]
        head_dim: Option<usize> = None,
        hidden_act: String = "silu".into(),
        max_position_embeddings: usize = 2048,
        rms_norm_eps: f64 = 1e-6,
        attention_dropout: f64 = 0.0,
        attention_bias: bool = false,
        mlp_bias: bool = false,
        use_sliding_window: bool = false,
        #[serde(flatten)]
        rope: RopeKeys = RopeKeys::default(),
        #[serde(flatten)]
        keys: DecoderKeys = DecoderKeys::default(),
    }
}

impl Family for Llama {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        refuse(&[
            ("use_sliding_window", !theirs.use_sliding_window, "false"),
            ("attention_bias", !theirs.attention_bias || self.biased, "false"),
        ])?;
        let ours = TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.hidden_size,
            embedding: EmbeddingConfig { positions: 0, ..EmbeddingConfig::default() },
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                kv_heads: theirs
                    .num_key_value_heads
                    .filter(|heads| *heads != theirs.num_attention_heads),
                head_width: theirs
                    .head_dim
                    .filter(|width| width * theirs.num_attention_heads != theirs.hidden_size),
                hidden: Some(theirs.intermediate_size),
                activation: activation_named("hidden_act", &theirs.hidden_act)?,
                gated: true,
                bias: theirs.mlp_bias,
                attention_bias: if self.biased {
                    AttentionBias::NoOutput
                } else {
                    AttentionBias::None
                },
                norm: NormConfig { epsilon: theirs.rms_norm_eps, ..NormConfig::new(NormKind::Rms) },
                final_norm: true,
                positions: Some(PositionConfig::Rotary(
                    theirs.rope.rotary(theirs.max_position_embeddings)?,
                )),
                attention_dropout: theirs.attention_dropout,
                ..TransformerConfig::default()
            },
            ..TextModelConfig::default()
        };
        theirs.keys.apply(self.classes, ours)
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let (class, keys) = DecoderKeys::of(ours, self.classes)?;
        let backbone = &ours.backbone;
        let Some(PositionConfig::Rotary(rotary)) = &backbone.positions else { return None };
        let (rope, longest) = RopeKeys::of(rotary);
        let longest = longest.unwrap_or(Config::default().max_position_embeddings);
        let theirs = Config {
            vocab_size: ours.vocabulary,
            hidden_size: ours.width,
            intermediate_size: backbone.hidden.unwrap_or(4 * ours.width),
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            num_key_value_heads: Some(backbone.kv_heads.unwrap_or(backbone.heads)),
            head_dim: backbone.head_width,
            hidden_act: activation_name(backbone.activation).into(),
            max_position_embeddings: longest,
            rms_norm_eps: backbone.norm.epsilon,
            attention_dropout: backbone.attention_dropout,
            mlp_bias: backbone.bias,
            keys,
            rope,
            ..Config::default()
        };
        Some((class, theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let [language, texts] = head_rules(ours);
        vec![
            Rule::Ignored { theirs: r"\.rotary_emb\.inv_freq$" },
            inner_rule(ours, r"^model\.", (r"^(embed_tokens|layers|norm)\.", "model.$1.")),
            language,
            texts,
            Rule::Prefix { theirs: "embed_tokens.", ours: "embedding.words." },
            Rule::Prefix { theirs: "norm.", ours: "backbone.norm." },
            Rule::Prefix { theirs: "layers.", ours: "backbone.layers." },
            Rule::Segments { theirs: "input_layernorm", ours: "attention_norm" },
            Rule::Segments { theirs: "post_attention_layernorm", ours: "feed_forward_norm" },
            Rule::Attention {
                theirs: "self_attn",
                projections: ["q_proj", "k_proj", "v_proj", "o_proj"],
            },
            Rule::Segments { theirs: "mlp.gate_proj", ours: "feed_forward.hidden" },
            Rule::Segments { theirs: "mlp.up_proj", ours: "feed_forward.gate" },
            Rule::Segments { theirs: "mlp.down_proj", ours: "feed_forward.output" },
        ]
    }
}
