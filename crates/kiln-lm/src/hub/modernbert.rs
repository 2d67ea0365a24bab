//! ModernBERT: <https://arxiv.org/abs/2412.13663>.

use super::{decoder::inner_rule, task::LabelKeys};
use crate::config::{
    EmbeddingConfig, LanguageHeadConfig, PoolerConfig, Pooling, SpecialIds, TaskHeadConfig,
    TaskKind, TextModelConfig,
};
use kiln_hub::{
    Rule,
    family::{Family, known_class, refuse},
};
use kiln_nn::{
    AttentionBias, ConfigError, LocalConfig, NormConfig, PositionConfig, RotaryConfig,
    TransformerConfig, activation_name, activation_named,
};
use serde::{Deserialize, Serialize};

/// The family.
pub(super) struct ModernBert;

kiln_hub::family_config! {
    /// Its `config.json`, with its names; keys that do not matter here are ignored.
    pub(super) struct Config {
        #[serde(skip_serializing)]
        architectures: Option<Vec<String>> = None,
        vocab_size: usize = 50_368,
        hidden_size: usize = 768,
        intermediate_size: usize = 1152,
        num_hidden_layers: usize = 22,
        num_attention_heads: usize = 12,
        hidden_activation: String = "gelu".into(),
        max_position_embeddings: usize = 8192,
        norm_eps: f64 = 1e-5,
        norm_bias: bool = false,
        attention_bias: bool = false,
        mlp_bias: bool = false,
        attention_dropout: f64 = 0.0,
        mlp_dropout: f64 = 0.0,
        embedding_dropout: f64 = 0.0,
        global_attn_every_n_layers: usize = 3,
        local_attention: usize = 128,
        global_rope_theta: f64 = 160_000.0,
        local_rope_theta: Option<f64> = Some(10_000.0),
        #[serde(skip_serializing_if = "Option::is_none")]
        rope_parameters: Option<RopeParameters> = None,
        decoder_bias: bool = true,
        classifier_pooling: String = "cls".into(),
        classifier_dropout: f64 = 0.0,
        classifier_bias: bool = false,
        classifier_activation: String = "gelu".into(),
        tie_word_embeddings: bool = true,
        pad_token_id: Option<u32> = Some(50_283),
        bos_token_id: Option<u32> = None,
        cls_token_id: Option<u32> = Some(50_281),
        eos_token_id: Option<u32> = None,
        sep_token_id: Option<u32> = Some(50_282),
        #[serde(flatten)]
        labels: LabelKeys = LabelKeys::default(),
    }
}

/// Rotary positions in the newer spelling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RopeParameters {
    full_attention: Rope,
    sliding_attention: Rope,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rope {
    rope_theta: f64,
    #[serde(default = "default_rope")]
    rope_type: String,
}

fn default_rope() -> String {
    "default".into()
}

const MODEL: &str = "ModernBertModel";
const MASKED: &str = "ModernBertForMaskedLM";
const SEQUENCE: &str = "ModernBertForSequenceClassification";
const TOKENS: &str = "ModernBertForTokenClassification";

impl Family for ModernBert {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        let class = known_class(&theirs.architectures, &[MODEL, MASKED, SEQUENCE, TOKENS])?;
        let (mut global, mut local) =
            (theirs.global_rope_theta, theirs.local_rope_theta.unwrap_or(theirs.global_rope_theta));
        let mut plain = true;
        if let Some(rope) = &theirs.rope_parameters {
            (global, local) = (rope.full_attention.rope_theta, rope.sliding_attention.rope_theta);
            plain = [&rope.full_attention, &rope.sliding_attention]
                .iter()
                .all(|rope| rope.rope_type == "default");
        }
        refuse(&[
            ("rope_type", plain, "default"),
            ("tie_word_embeddings", theirs.tie_word_embeddings, "true"),
        ])?;
        let bias = if theirs.attention_bias { AttentionBias::All } else { AttentionBias::None };
        let (labels, names) = theirs.labels.names();
        let kind = match class {
            MODEL | MASKED => None,
            TOKENS => Some(TaskKind::Tags(labels)),
            _ => Some(theirs.labels.of_texts(labels)),
        };
        let transform =
            Some(activation_named("classifier_activation", &theirs.classifier_activation)?);
        let pooling = match &theirs.classifier_pooling[..] {
            "cls" => Pooling::First,
            "mean" => Pooling::Mean,
            other => {
                return Err(ConfigError::new("classifier_pooling", other, "cls or mean"));
            }
        };
        let of_texts = kind.is_some_and(|kind| !kind.is_of_tokens());
        if kind.is_some_and(TaskKind::is_of_tokens) {
            let expected = format!("{SEQUENCE}: tags are read by `kiln-text` models only");
            return Err(ConfigError::new("architectures", class, expected));
        }
        Ok(TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.hidden_size,
            embedding: EmbeddingConfig {
                positions: 0,
                norm: true,
                dropout: theirs.embedding_dropout,
                ..EmbeddingConfig::default()
            },
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                hidden: Some(theirs.intermediate_size),
                activation: activation_named("hidden_activation", &theirs.hidden_activation)?,
                gated: true,
                bias: theirs.mlp_bias,
                attention_bias: bias,
                norm: NormConfig {
                    epsilon: theirs.norm_eps,
                    bias: theirs.norm_bias,
                    ..NormConfig::default()
                },
                first_norm: false,
                final_norm: true,
                positions: Some(PositionConfig::Rotary(RotaryConfig {
                    base: global,
                    local_base: Some(local),
                    scaling: None,
                })),
                // Their window counts both sides; ours one side and the token itself.
                local: Some(LocalConfig {
                    window: theirs.local_attention / 2 + 1,
                    global_every: theirs.global_attn_every_n_layers,
                }),
                attention_dropout: theirs.attention_dropout,
                hidden_dropout: theirs.mlp_dropout,
                ..TransformerConfig::default()
            },
            causal: false,
            language: (class == MASKED).then_some(LanguageHeadConfig {
                transform,
                transform_bias: theirs.classifier_bias,
                tied: true,
                bias: theirs.decoder_bias,
                scale: 1.0,
            }),
            pooler: of_texts.then_some(PoolerConfig {
                pooling,
                transform,
                bias: theirs.classifier_bias,
                norm: true,
                ..PoolerConfig::default()
            }),
            task: kind.map(|kind| TaskHeadConfig {
                dropout: theirs.classifier_dropout,
                ..TaskHeadConfig::new(kind, names)
            }),
            special: SpecialIds {
                pad: theirs.pad_token_id,
                bos: theirs.cls_token_id.or(theirs.bos_token_id),
                eos: theirs.sep_token_id.or(theirs.eos_token_id),
                ..SpecialIds::default()
            },
            ..TextModelConfig::default()
        })
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let backbone = &ours.backbone;
        let Some(PositionConfig::Rotary(rotary)) = &backbone.positions else { return None };
        let local = backbone.local?;
        let head = ours.task.as_ref();
        let class = match (&ours.language, head.map(|head| head.kind)) {
            (Some(_), None) => MASKED,
            (None, None) => MODEL,
            (None, Some(kind)) if !kind.is_of_tokens() => SEQUENCE,
            _ => return None,
        };
        let transform = ours.language.and_then(|head| head.transform);
        let transform = transform.or(ours.pooler.and_then(|pooler| pooler.transform));
        let default = Config::default();
        let theirs = Config {
            vocab_size: ours.vocabulary,
            hidden_size: ours.width,
            intermediate_size: backbone.hidden.unwrap_or(4 * ours.width),
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            hidden_activation: activation_name(backbone.activation).into(),
            norm_eps: backbone.norm.epsilon,
            norm_bias: backbone.norm.bias,
            attention_bias: backbone.attention_bias == AttentionBias::All,
            mlp_bias: backbone.bias,
            attention_dropout: backbone.attention_dropout,
            mlp_dropout: backbone.hidden_dropout,
            embedding_dropout: ours.embedding.dropout,
            global_attn_every_n_layers: local.global_every,
            local_attention: 2 * (local.window - 1),
            global_rope_theta: rotary.base,
            local_rope_theta: Some(rotary.local_base.unwrap_or(rotary.base)),
            decoder_bias: ours.language.is_none_or(|head| head.bias),
            classifier_pooling: match ours.pooler.map(|pooler| pooler.pooling) {
                Some(Pooling::Mean) => "mean".into(),
                _ => "cls".into(),
            },
            classifier_dropout: head.map_or(0.0, |head| head.dropout),
            classifier_bias: ours.language.map(|head| head.transform_bias).unwrap_or_default()
                || ours.pooler.is_some_and(|pooler| pooler.bias),
            classifier_activation: transform
                .map_or(default.classifier_activation.clone(), |one| activation_name(one).into()),
            pad_token_id: ours.special.pad,
            bos_token_id: ours.special.bos,
            cls_token_id: ours.special.bos,
            eos_token_id: ours.special.eos,
            sep_token_id: ours.special.eos,
            labels: head.map_or_else(LabelKeys::default, LabelKeys::of),
            ..default
        };
        Some((class.into(), theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let mut rules = vec![
            Rule::Ignored { theirs: r"^decoder\.weight$" },
            Rule::Fused { theirs: "attn.Wqkv", ours: &["attn.query", "attn.key", "attn.value"] },
            Rule::Fused { theirs: "mlp.Wi", ours: &["mlp.hidden", "mlp.gate"] },
            inner_rule(ours, r"^model\.", (r"^(embeddings|layers|final_norm)\.", "model.$1.")),
        ];
        rules.extend(if ours.language.is_some() {
            [
                Rule::Prefix { theirs: "head.", ours: "language." },
                Rule::Prefix { theirs: "decoder.bias", ours: "language.bias" },
            ]
        } else {
            [
                Rule::Prefix { theirs: "head.", ours: "pooler." },
                Rule::Prefix { theirs: "classifier.", ours: "task.output." },
            ]
        });
        rules.extend([
            Rule::Prefix { theirs: "embeddings.tok_embeddings.", ours: "embedding.words." },
            Rule::Prefix { theirs: "embeddings.norm.", ours: "embedding.norm." },
            Rule::Prefix { theirs: "final_norm.", ours: "backbone.norm." },
            Rule::Prefix { theirs: "layers.", ours: "backbone.layers." },
            Rule::Segments { theirs: "attn_norm", ours: "attention_norm" },
            Rule::Segments { theirs: "mlp_norm", ours: "feed_forward_norm" },
            Rule::Attention { theirs: "attn", projections: ["query", "key", "value", "Wo"] },
            Rule::Segments { theirs: "mlp.hidden", ours: "feed_forward.hidden" },
            Rule::Segments { theirs: "mlp.gate", ours: "feed_forward.gate" },
            Rule::Segments { theirs: "mlp.Wo", ours: "feed_forward.output" },
        ]);
        rules
    }
}
