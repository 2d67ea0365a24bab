//! Llama (<https://arxiv.org/abs/2302.13971>) and Qwen2 (<https://arxiv.org/abs/2407.10671>).

use super::{Family, Unreadable, first_id, language_rule, refuse, rope::RopeKeys, task};
use crate::config::{EmbeddingConfig, Format, LanguageHeadConfig, SpecialIds, TextModelConfig};
use kiln_hub::{Rule, family::family_json};
use kiln_nn::{
    AttentionBias, NormConfig, NormKind, PositionConfig, TransformerConfig, activation_name,
    activation_named,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const LLAMA: Family = Family {
    format: Format::Llama,
    model_types: &["llama"],
    to_ours,
    to_json: |ours| to_json(ours, "llama"),
    rules,
};

pub(super) const QWEN2: Family = Family {
    format: Format::Qwen2,
    model_types: &["qwen2"],
    to_ours,
    to_json: |ours| to_json(ours, "qwen2"),
    rules,
};

/// Their `config.json`, with their names; keys that do not matter here are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    #[serde(skip_serializing)]
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    hidden_act: String,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    attention_dropout: f64,
    attention_bias: bool,
    mlp_bias: bool,
    use_sliding_window: bool,
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    /// One, or several.
    eos_token_id: Value,
    pad_token_id: Option<u32>,
    #[serde(flatten)]
    rope: RopeKeys,
    #[serde(flatten)]
    head: task::DecoderHead,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: "llama".into(),
            architectures: None,
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".into(),
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            attention_dropout: 0.0,
            attention_bias: false,
            mlp_bias: false,
            use_sliding_window: false,
            tie_word_embeddings: false,
            bos_token_id: None,
            eos_token_id: Value::Null,
            pad_token_id: None,
            rope: RopeKeys::default(),
            head: task::DecoderHead::default(),
        }
    }
}

fn to_ours(json: &Value) -> Result<TextModelConfig, Unreadable> {
    let theirs: Config = serde_json::from_value(json.clone())?;
    let qwen = theirs.model_type == "qwen2";
    refuse(&[
        ("use_sliding_window", !theirs.use_sliding_window, "false"),
        ("attention_bias", !theirs.attention_bias || qwen, "false"),
    ])?;
    let prefix = if qwen { "Qwen2" } else { "Llama" };
    let class = task::decoder_class(&theirs.architectures, prefix)?;
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
            attention_bias: if qwen { AttentionBias::NoOutput } else { AttentionBias::None },
            norm: NormConfig { epsilon: theirs.rms_norm_eps, ..NormConfig::new(NormKind::Rms) },
            final_norm: true,
            positions: Some(PositionConfig::Rotary(
                theirs.rope.rotary(theirs.max_position_embeddings)?,
            )),
            attention_dropout: theirs.attention_dropout,
            ..TransformerConfig::default()
        },
        branches: None,
        causal: true,
        decoder: None,
        language: (class == task::LANGUAGE).then_some(LanguageHeadConfig {
            tied: theirs.tie_word_embeddings,
            ..LanguageHeadConfig::default()
        }),
        pooler: None,
        task: None,
        special: SpecialIds {
            pad: theirs.pad_token_id,
            bos: theirs.bos_token_id,
            eos: first_id(&theirs.eos_token_id),
            ..SpecialIds::default()
        },
        initial_deviation: Some(0.02),
        tasks: BTreeMap::new(),
        discriminator: false,
        generator: None,
        bottleneck: None,
        format: None,
    };
    Ok(if class == task::SEQUENCE { theirs.head.on(ours) } else { ours })
}

fn to_json(ours: &TextModelConfig, model_type: &str) -> Option<Value> {
    let backbone = &ours.backbone;
    let Some(PositionConfig::Rotary(rotary)) = &backbone.positions else { return None };
    let (rope, longest) = RopeKeys::of(rotary);
    let longest = longest.unwrap_or(Config::default().max_position_embeddings);
    let theirs = Config {
        model_type: model_type.into(),
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
        tie_word_embeddings: ours.language.is_none_or(|head| head.tied),
        bos_token_id: ours.special.bos,
        eos_token_id: ours.special.eos.map_or(Value::Null, Value::from),
        pad_token_id: ours.special.pad,
        head: task::DecoderHead::of(ours)?,
        rope,
        ..Config::default()
    };
    let prefix = if model_type == "qwen2" { "Qwen2" } else { "Llama" };
    family_json(model_type, &format!("{prefix}{}", task::class_of(ours)), &theirs)
}

fn rules(ours: &TextModelConfig) -> Vec<Rule> {
    let mut rules = vec![
        Rule::Ignored { theirs: r"\.rotary_emb\.inv_freq$" },
        Rule::Regex { load: Some((r"^model\.", "")), save: None },
    ];
    rules.push(language_rule(ours));
    if ours.language.is_some() || ours.task.is_some() {
        rules.push(Rule::Regex {
            load: None,
            save: Some((r"^(embed_tokens|layers|norm)\.", "model.$1.")),
        });
    }
    rules.extend([
        Rule::Prefix { theirs: "score.", ours: "task.output." },
        Rule::Prefix { theirs: "embed_tokens.", ours: "embedding.words." },
        Rule::Prefix { theirs: "norm.", ours: "backbone.norm." },
        Rule::Prefix { theirs: "layers.", ours: "backbone.layers." },
        Rule::Segments { theirs: "input_layernorm", ours: "attention_norm" },
        Rule::Segments { theirs: "post_attention_layernorm", ours: "feed_forward_norm" },
        Rule::Segments { theirs: "self_attn.q_proj", ours: "attention.query" },
        Rule::Segments { theirs: "self_attn.k_proj", ours: "attention.key" },
        Rule::Segments { theirs: "self_attn.v_proj", ours: "attention.value" },
        Rule::Segments { theirs: "self_attn.o_proj", ours: "attention.output" },
        Rule::Segments { theirs: "mlp.gate_proj", ours: "feed_forward.hidden" },
        Rule::Segments { theirs: "mlp.up_proj", ours: "feed_forward.gate" },
        Rule::Segments { theirs: "mlp.down_proj", ours: "feed_forward.output" },
    ]);
    rules
}
