//! Llama (<https://arxiv.org/abs/2302.13971>) and Qwen2 (<https://arxiv.org/abs/2407.10671>).

use super::{Family, Unreadable, class, language_rule, refuse, task};
use crate::config::{EmbeddingConfig, Format, LanguageHeadConfig, SpecialIds, TextModelConfig};
use kiln_hub::{Rule, family::family_json};
use kiln_nn::{
    AttentionBias, ConfigError, Llama3Scaling, NormConfig, NormKind, PositionConfig, RotaryConfig,
    RotaryScaling, TransformerConfig, YarnScaling, activation_name, activation_named,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<Rope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_parameters: Option<Rope>,
    #[serde(flatten)]
    head: task::DecoderHead,
}

/// Rotary positions, in the spelling of either version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rope {
    #[serde(alias = "type", skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_fast: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_slow: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_factor: Option<f64>,
    #[serde(skip_serializing)]
    mscale: Option<f64>,
    #[serde(skip_serializing)]
    mscale_all_dim: Option<f64>,
    #[serde(skip_serializing)]
    truncate: Option<bool>,
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
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            head: task::DecoderHead::default(),
        }
    }
}

const LANGUAGE: &str = "ForCausalLM";

fn to_ours(json: &Value) -> Result<TextModelConfig, Unreadable> {
    let theirs: Config = serde_json::from_value(json.clone())?;
    let qwen = theirs.model_type == "qwen2";
    refuse(&[
        ("use_sliding_window", !theirs.use_sliding_window, "false"),
        ("attention_bias", !theirs.attention_bias || qwen, "false"),
    ])?;
    let prefix = if qwen { "Qwen2" } else { "Llama" };
    let default = format!("{prefix}Model");
    let name = class(&theirs.architectures, &default);
    let class = name.strip_prefix(prefix).unwrap_or_default();
    if ![LANGUAGE, task::SEQUENCE, "Model"].contains(&class) {
        let expected = format!("{prefix}Model, {prefix}{LANGUAGE} or {prefix}{}", task::SEQUENCE);
        return Err(ConfigError::new("architectures", name, expected).into());
    }
    let eos = theirs.eos_token_id.as_u64().or_else(|| theirs.eos_token_id.get(0)?.as_u64());
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
            positions: Some(PositionConfig::Rotary(rotary(&theirs)?)),
            attention_dropout: theirs.attention_dropout,
            ..TransformerConfig::default()
        },
        branches: None,
        causal: true,
        decoder: None,
        language: (class == LANGUAGE).then_some(LanguageHeadConfig {
            tied: theirs.tie_word_embeddings,
            ..LanguageHeadConfig::default()
        }),
        pooler: None,
        task: None,
        special: SpecialIds {
            pad: theirs.pad_token_id,
            bos: theirs.bos_token_id,
            eos: eos.and_then(|id| id.try_into().ok()),
            ..SpecialIds::default()
        },
        initial_deviation: Some(0.02),
        tasks: BTreeMap::new(),
        judge: false,
        generator: None,
        bottleneck: None,
        format: None,
    };
    Ok(if class == task::SEQUENCE { theirs.head.on(ours) } else { ours })
}

fn rotary(theirs: &Config) -> Result<RotaryConfig, ConfigError> {
    let rope = theirs.rope_parameters.as_ref().or(theirs.rope_scaling.as_ref());
    let rope = rope.cloned().unwrap_or_default();
    let need = |key: &str, value: Option<f64>| {
        value.ok_or_else(|| ConfigError::new(format!("rope.{key}"), "missing", "a number"))
    };
    let scaling = match rope.rope_type.as_deref() {
        None | Some("default") => None,
        Some("linear") => Some(RotaryScaling::Linear(need("factor", rope.factor)?)),
        Some("llama3") => Some(RotaryScaling::Llama3(Llama3Scaling {
            factor: need("factor", rope.factor)?,
            low: need("low_freq_factor", rope.low_freq_factor)?,
            high: need("high_freq_factor", rope.high_freq_factor)?,
            context: rope
                .original_max_position_embeddings
                .unwrap_or(theirs.max_position_embeddings),
        })),
        Some("yarn") => Some(RotaryScaling::Yarn(yarn(&rope, theirs)?)),
        Some(other) => {
            return Err(ConfigError::new("rope_type", other, "default, linear, llama3 or yarn"));
        }
    };
    let base = rope.rope_theta.or(theirs.rope_theta).unwrap_or(10_000.0);
    Ok(RotaryConfig { base, local_base: None, scaling })
}

/// Bands of YaRN, which `transformers` tells of as Qwen2.5 and DeepSeek do.
fn yarn(rope: &Rope, theirs: &Config) -> Result<YarnScaling, ConfigError> {
    refuse(&[
        ("rope.truncate", rope.truncate != Some(false), "true"),
        ("rope.mscale", rope.mscale.is_none() && rope.mscale_all_dim.is_none(), "absent"),
    ])?;
    let context = rope.original_max_position_embeddings.unwrap_or(theirs.max_position_embeddings);
    let longest = theirs.max_position_embeddings as f64;
    Ok(YarnScaling {
        factor: rope.factor.unwrap_or(longest / context.max(1) as f64),
        context,
        fast: rope.beta_fast.unwrap_or(32.0),
        slow: rope.beta_slow.unwrap_or(1.0),
        magnitude: rope.attention_factor,
    })
}

fn to_json(ours: &TextModelConfig, model_type: &str) -> Option<Value> {
    let backbone = &ours.backbone;
    let Some(PositionConfig::Rotary(rotary)) = &backbone.positions else { return None };
    let mut rope = Rope {
        rope_type: Some("default".into()),
        rope_theta: Some(rotary.base),
        ..Rope::default()
    };
    let mut longest = Config::default().max_position_embeddings;
    match &rotary.scaling {
        None => {}
        Some(RotaryScaling::Linear(factor)) => {
            rope = Rope { rope_type: Some("linear".into()), factor: Some(*factor), ..rope };
        }
        Some(RotaryScaling::Llama3(bands)) => {
            rope = Rope {
                rope_type: Some("llama3".into()),
                factor: Some(bands.factor),
                low_freq_factor: Some(bands.low),
                high_freq_factor: Some(bands.high),
                original_max_position_embeddings: Some(bands.context),
                ..rope
            };
        }
        Some(RotaryScaling::Yarn(bands)) => {
            longest = (bands.factor * bands.context as f64).round() as usize;
            rope = Rope {
                rope_type: Some("yarn".into()),
                factor: Some(bands.factor),
                original_max_position_embeddings: Some(bands.context),
                beta_fast: Some(bands.fast),
                beta_slow: Some(bands.slow),
                attention_factor: bands.magnitude,
                ..rope
            };
        }
    }
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
        rope_parameters: Some(rope),
        ..Config::default()
    };
    let prefix = if model_type == "qwen2" { "Qwen2" } else { "Llama" };
    let class = match (&ours.language, &ours.task) {
        (Some(_), _) => LANGUAGE,
        (None, Some(_)) => task::SEQUENCE,
        (None, None) => "Model",
    };
    family_json(model_type, &format!("{prefix}{class}"), &theirs)
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
