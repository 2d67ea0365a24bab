//! GPT-2: <https://huggingface.co/openai-community/gpt2>.

use super::decoder::{Classes, DecoderKeys, head_rules, inner_rule};
use crate::config::{EmbeddingConfig, TextModelConfig};
use kiln_hub::{
    Rule,
    family::{Family, refuse},
};
use kiln_nn::{ConfigError, NormConfig, TransformerConfig, activation_name, activation_named};

kiln_hub::family_config! {
    /// Its `config.json`, with its names; keys that do not matter here are ignored.
    pub(super) struct Config {
        vocab_size: usize = 50_257,
        n_positions: usize = 1024,
        n_embd: usize = 768,
        n_layer: usize = 12,
        n_head: usize = 12,
        n_inner: Option<usize> = None,
        activation_function: String = "gelu_new".into(),
        resid_pdrop: f64 = 0.1,
        embd_pdrop: f64 = 0.1,
        attn_pdrop: f64 = 0.1,
        layer_norm_epsilon: f64 = 1e-5,
        scale_attn_weights: bool = true,
        scale_attn_by_inverse_layer_idx: bool = false,
        add_cross_attention: bool = false,
        #[serde(flatten)]
        keys: DecoderKeys = DecoderKeys::new(true, None, Some(50_256), Some(50_256)),
    }
}

/// The family.
pub(super) struct Gpt2;

const CLASSES: Classes = ["GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification"];

impl Family for Gpt2 {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        refuse(&[
            ("scale_attn_weights", theirs.scale_attn_weights, "true"),
            ("scale_attn_by_inverse_layer_idx", !theirs.scale_attn_by_inverse_layer_idx, "false"),
            ("add_cross_attention", !theirs.add_cross_attention, "false"),
        ])?;
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
            ..TextModelConfig::default()
        };
        theirs.keys.apply(CLASSES, ours)
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let (class, keys) = DecoderKeys::of(ours, CLASSES)?;
        let backbone = &ours.backbone;
        let theirs = Config {
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
            keys,
            ..Config::default()
        };
        Some((class, theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let [language, texts] = head_rules(ours);
        vec![
            Rule::Ignored { theirs: r"\.attn\.(bias|masked_bias)$" },
            Rule::Transposed { theirs: "attn.c_attn" },
            Rule::Transposed { theirs: "attn.c_proj" },
            Rule::Transposed { theirs: "mlp.c_fc" },
            Rule::Transposed { theirs: "mlp.c_proj" },
            Rule::Fused { theirs: "attn.c_attn", ours: &["attn.query", "attn.key", "attn.value"] },
            inner_rule(ours, r"^transformer\.", (r"^(wte|wpe|h|ln_f)\.", "transformer.$1.")),
            language,
            texts,
            Rule::Prefix { theirs: "wte.", ours: "embedding.words." },
            Rule::Prefix { theirs: "wpe.", ours: "embedding.positions." },
            Rule::Prefix { theirs: "ln_f.", ours: "backbone.norm." },
            Rule::Prefix { theirs: "h.", ours: "backbone.layers." },
            Rule::Segments { theirs: "ln_1", ours: "attention_norm" },
            Rule::Segments { theirs: "ln_2", ours: "feed_forward_norm" },
            Rule::Attention { theirs: "attn", projections: ["query", "key", "value", "c_proj"] },
            Rule::Segments { theirs: "mlp.c_fc", ours: "feed_forward.hidden" },
            Rule::Segments { theirs: "mlp.c_proj", ours: "feed_forward.output" },
        ]
    }
}
