//! GPT-2: <https://huggingface.co/openai-community/gpt2>.

use super::{Family, Unreadable, class, language_rule, refuse, task};
use crate::config::{EmbeddingConfig, Format, LanguageHeadConfig, SpecialIds, TextModelConfig};
use kiln_hub::{Rule, family::family_json};
use kiln_nn::{ConfigError, NormConfig, TransformerConfig, activation_name, activation_named};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const FAMILY: Family =
    Family { format: Format::Gpt2, model_types: &["gpt2"], to_ours, to_json, rules };

/// Its `config.json`, with its names; keys that do not matter here are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(skip_serializing)]
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    pad_token_id: Option<u32>,
    #[serde(flatten)]
    head: task::DecoderHead,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: None,
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
            bos_token_id: Some(50_256),
            eos_token_id: Some(50_256),
            pad_token_id: None,
            head: task::DecoderHead::default(),
        }
    }
}

const LANGUAGE: &str = "GPT2LMHeadModel";
const MODEL: &str = "GPT2Model";
const SEQUENCE: &str = "GPT2ForSequenceClassification";

fn to_ours(json: &Value) -> Result<TextModelConfig, Unreadable> {
    let theirs: Config = serde_json::from_value(json.clone())?;
    refuse(&[
        ("scale_attn_weights", theirs.scale_attn_weights, "true"),
        ("scale_attn_by_inverse_layer_idx", !theirs.scale_attn_by_inverse_layer_idx, "false"),
        ("add_cross_attention", !theirs.add_cross_attention, "false"),
    ])?;
    let class = class(&theirs.architectures, MODEL);
    if ![LANGUAGE, MODEL, SEQUENCE].contains(&class) {
        let expected = format!("{MODEL}, {LANGUAGE} or {SEQUENCE}");
        return Err(ConfigError::new("architectures", class, expected).into());
    }
    let ours = TextModelConfig {
        vocabulary: theirs.vocab_size,
        width: theirs.n_embd,
        embedding: EmbeddingConfig {
            positions: theirs.n_positions,
            dropout: theirs.embd_pdrop,
            ..EmbeddingConfig::default()
        },
        backbone: TransformerConfig {
            layers: theirs.n_layer,
            heads: theirs.n_head,
            hidden: theirs.n_inner,
            activation: activation_named("activation_function", &theirs.activation_function)?,
            norm: NormConfig { epsilon: theirs.layer_norm_epsilon, ..NormConfig::default() },
            final_norm: true,
            attention_dropout: theirs.attn_pdrop,
            residual_dropout: theirs.resid_pdrop,
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
            eos: theirs.eos_token_id,
            ..SpecialIds::default()
        },
        initial_deviation: Some(0.02),
        tasks: BTreeMap::new(),
        discriminator: false,
        generator: None,
        bottleneck: None,
        format: None,
    };
    Ok(if class == SEQUENCE { theirs.head.on(ours) } else { ours })
}

fn to_json(ours: &TextModelConfig) -> Option<Value> {
    let backbone = &ours.backbone;
    let theirs = Config {
        architectures: None,
        vocab_size: ours.vocabulary,
        n_positions: ours.embedding.positions,
        n_embd: ours.width,
        n_layer: backbone.layers,
        n_head: backbone.heads,
        n_inner: backbone.hidden,
        activation_function: activation_name(backbone.activation).into(),
        resid_pdrop: backbone.residual_dropout,
        embd_pdrop: ours.embedding.dropout,
        attn_pdrop: backbone.attention_dropout,
        layer_norm_epsilon: backbone.norm.epsilon,
        tie_word_embeddings: ours.language.is_none_or(|head| head.tied),
        bos_token_id: ours.special.bos,
        eos_token_id: ours.special.eos,
        pad_token_id: ours.special.pad,
        head: task::DecoderHead::of(ours)?,
        ..Config::default()
    };
    let class = match (&ours.language, &ours.task) {
        (Some(_), _) => LANGUAGE,
        (None, Some(_)) => SEQUENCE,
        (None, None) => MODEL,
    };
    family_json("gpt2", class, &theirs)
}

fn rules(ours: &TextModelConfig) -> Vec<Rule> {
    let mut rules = vec![
        Rule::Ignored { theirs: r"\.attn\.(bias|masked_bias)$" },
        Rule::Transposed { theirs: "attn.c_attn" },
        Rule::Transposed { theirs: "attn.c_proj" },
        Rule::Transposed { theirs: "mlp.c_fc" },
        Rule::Transposed { theirs: "mlp.c_proj" },
        Rule::Fused { theirs: "attn.c_attn", ours: &["attn.query", "attn.key", "attn.value"] },
        Rule::Regex { load: Some((r"^transformer\.", "")), save: None },
    ];
    rules.push(language_rule(ours));
    if ours.language.is_some() || ours.task.is_some() {
        rules.push(Rule::Regex {
            load: None,
            save: Some((r"^(wte|wpe|h|ln_f)\.", "transformer.$1.")),
        });
    }
    rules.extend([
        Rule::Prefix { theirs: "score.", ours: "task.output." },
        Rule::Prefix { theirs: "wte.", ours: "embedding.words." },
        Rule::Prefix { theirs: "wpe.", ours: "embedding.positions." },
        Rule::Prefix { theirs: "ln_f.", ours: "backbone.norm." },
        Rule::Prefix { theirs: "h.", ours: "backbone.layers." },
        Rule::Segments { theirs: "ln_1", ours: "attention_norm" },
        Rule::Segments { theirs: "ln_2", ours: "feed_forward_norm" },
        Rule::Segments { theirs: "attn.query", ours: "attention.query" },
        Rule::Segments { theirs: "attn.key", ours: "attention.key" },
        Rule::Segments { theirs: "attn.value", ours: "attention.value" },
        Rule::Segments { theirs: "attn.c_proj", ours: "attention.output" },
        Rule::Segments { theirs: "mlp.c_fc", ours: "feed_forward.hidden" },
        Rule::Segments { theirs: "mlp.c_proj", ours: "feed_forward.output" },
    ]);
    rules
}
