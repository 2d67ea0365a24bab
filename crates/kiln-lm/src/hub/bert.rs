//! BERT, RoBERTa (and XLM-R, which is one) and MPNet: encoders with the norm after each block.

use super::{decoder::inner_rule, task::LabelKeys};
use crate::config::{
    EmbeddingConfig, LanguageHeadConfig, PoolerConfig, SpecialIds, TaskHeadConfig, TaskKind,
    TextModelConfig,
};
use kiln_hub::{
    Rule,
    family::{Family, class, refuse},
};
use kiln_nn::{
    Activation, ConfigError, NormConfig, PositionConfig, RelativeConfig, TransformerConfig,
    activation_name, activation_named,
};

/// How the three differ.
pub(super) struct Bert {
    /// Prefix of its class names.
    class: &'static str,
    /// Prefix of the base model's weights in classes with a head.
    outside: &'static str,
    /// Whether position ids start after that of padding.
    from_padding: bool,
    /// Whether a sequence classification head has a dense layer of its own in place of the pooler's.
    own_transform: bool,
    relative: bool,
}

pub(super) const BERT: Bert = Bert {
    class: "Bert",
    outside: "bert.$1.",
    from_padding: false,
    own_transform: false,
    relative: false,
};

pub(super) const ROBERTA: Bert = Bert {
    class: "Roberta",
    outside: "roberta.$1.",
    from_padding: true,
    own_transform: true,
    relative: false,
};

pub(super) const MPNET: Bert = Bert {
    class: "MPNet",
    outside: "mpnet.$1.",
    from_padding: true,
    own_transform: true,
    relative: true,
};

kiln_hub::family_config! {
    /// Their `config.json`, with their names; keys that do not matter here are ignored.
    pub(super) struct Config {
        #[serde(skip_serializing)]
        architectures: Option<Vec<String>> = None,
        vocab_size: usize = 30_522,
        hidden_size: usize = 768,
        num_hidden_layers: usize = 12,
        num_attention_heads: usize = 12,
        intermediate_size: usize = 3072,
        hidden_act: String = "gelu".into(),
        hidden_dropout_prob: f64 = 0.1,
        attention_probs_dropout_prob: f64 = 0.1,
        #[serde(skip_serializing_if = "Option::is_none")]
        classifier_dropout: Option<f64> = None,
        max_position_embeddings: usize = 512,
        type_vocab_size: usize = 2,
        layer_norm_eps: f64 = 1e-12,
        #[serde(skip_serializing_if = "Option::is_none")]
        position_embedding_type: Option<String> = None,
        is_decoder: bool = false,
        tie_word_embeddings: bool = true,
        pad_token_id: Option<u32> = None,
        bos_token_id: Option<u32> = None,
        eos_token_id: Option<u32> = None,
        #[serde(skip_serializing_if = "Option::is_none")]
        relative_attention_num_buckets: Option<usize> = None,
        #[serde(flatten)]
        labels: LabelKeys = LabelKeys::default(),
    }
}

const MASKED: &str = "ForMaskedLM";
const SEQUENCE: &str = "ForSequenceClassification";
const TOKENS: &str = "ForTokenClassification";
const SPAN: &str = "ForQuestionAnswering";

impl Family for Bert {
    type Ours = TextModelConfig;
    type Theirs = Config;

    fn to_ours(&self, theirs: &Config) -> Result<TextModelConfig, ConfigError> {
        let absolute = theirs.position_embedding_type.as_deref();
        refuse(&[
            ("is_decoder", !theirs.is_decoder, "false"),
            ("position_embedding_type", absolute.is_none_or(|kind| kind == "absolute"), "absolute"),
            ("tie_word_embeddings", theirs.tie_word_embeddings, "true"),
        ])?;
        let activation = activation_named("hidden_act", &theirs.hidden_act)?;
        let norm = NormConfig { epsilon: theirs.layer_norm_eps, ..NormConfig::default() };
        let default = format!("{}Model", self.class);
        let name = class(&theirs.architectures, &default);
        let family = name.strip_prefix("XLM").unwrap_or(name);
        let Some(class) = family.strip_prefix(self.class) else {
            let expected = format!("one of {}'s classes", self.class);
            return Err(ConfigError::new("architectures", name, expected));
        };
        let pad = theirs.pad_token_id.or(self.from_padding.then_some(1));
        let task = task_head(class, theirs)?;
        let dense = PoolerConfig::of_first();
        Ok(TextModelConfig {
            vocabulary: theirs.vocab_size,
            width: theirs.hidden_size,
            embedding: EmbeddingConfig {
                positions: theirs.max_position_embeddings,
                first_position: if self.from_padding { pad.unwrap_or(1) as usize + 1 } else { 0 },
                types: if self.relative { 0 } else { theirs.type_vocab_size },
                norm: true,
                dropout: theirs.hidden_dropout_prob,
            },
            backbone: TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                hidden: Some(theirs.intermediate_size),
                activation,
                norm,
                pre_norm: false,
                attention_dropout: theirs.attention_probs_dropout_prob,
                residual_dropout: theirs.hidden_dropout_prob,
                positions: self.relative.then(|| {
                    let buckets = theirs.relative_attention_num_buckets.unwrap_or(32);
                    PositionConfig::Relative(RelativeConfig { buckets, distance: 128 })
                }),
                ..TransformerConfig::default()
            },
            causal: false,
            language: (class == MASKED).then_some(LanguageHeadConfig {
                transform: Some(if self.from_padding { Activation::Gelu } else { activation }),
                bias: true,
                ..LanguageHeadConfig::default()
            }),
            pooler: (class == "Model" || class == SEQUENCE).then_some(dense),
            task,
            special: SpecialIds {
                pad,
                bos: theirs.bos_token_id,
                eos: theirs.eos_token_id,
                ..SpecialIds::default()
            },
            ..TextModelConfig::default()
        })
    }

    fn to_theirs(&self, ours: &TextModelConfig) -> Option<(String, Config)> {
        let backbone = &ours.backbone;
        let head = ours.task.as_ref();
        let class = match (&ours.language, head.map(|head| head.kind)) {
            (Some(_), None) => MASKED,
            (None, None) => "Model",
            (None, Some(TaskKind::Tags(_))) => TOKENS,
            (None, Some(TaskKind::Span)) => SPAN,
            (None, Some(_)) => SEQUENCE,
            _ => return None,
        };
        let dropout = head.map(|head| head.dropout).filter(|d| *d != ours.embedding.dropout);
        let buckets = match &backbone.positions {
            Some(PositionConfig::Relative(relative)) => Some(relative.buckets),
            _ => None,
        };
        let theirs = Config {
            architectures: None,
            vocab_size: ours.vocabulary,
            hidden_size: ours.width,
            num_hidden_layers: backbone.layers,
            num_attention_heads: backbone.heads,
            intermediate_size: backbone.hidden.unwrap_or(4 * ours.width),
            hidden_act: activation_name(backbone.activation).into(),
            hidden_dropout_prob: ours.embedding.dropout,
            attention_probs_dropout_prob: backbone.attention_dropout,
            classifier_dropout: dropout,
            max_position_embeddings: ours.embedding.positions,
            type_vocab_size: ours.embedding.types,
            layer_norm_eps: backbone.norm.epsilon,
            position_embedding_type: None,
            is_decoder: false,
            tie_word_embeddings: true,
            pad_token_id: ours.special.pad,
            bos_token_id: ours.special.bos,
            eos_token_id: ours.special.eos,
            relative_attention_num_buckets: buckets,
            labels: head.map_or_else(LabelKeys::default, LabelKeys::of),
        };
        Some((format!("{}{class}", self.class), theirs))
    }

    fn rules(&self, ours: &TextModelConfig) -> Vec<Rule> {
        let mut rules = vec![
            Rule::OldNames,
            // Tied to the embedding; buffers.
            Rule::Ignored { theirs: r"(^|\.)(cls\.predictions|lm_head)\.decoder\.(weight|bias)$" },
            Rule::Ignored { theirs: r"embeddings\.(position_ids|token_type_ids)$" },
            Rule::Ignored { theirs: r"^cls\.seq_relationship\." },
            // Checkpoints may have the prefix of the base model or lack it.
            inner_rule(
                ours,
                r"^(bert|roberta|mpnet)\.",
                (r"^(embeddings|encoder|pooler)\.", self.outside),
            ),
        ];
        if ours.pooler.is_none() {
            rules.push(Rule::Ignored { theirs: r"(^|\.)pooler\." });
        }
        rules.extend(BLOCKS);
        rules.extend(if self.relative { MPNET_ATTENTION } else { ATTENTION });
        let head = if self.from_padding { ROBERTA_HEAD } else { BERT_HEAD };
        rules.extend(head);
        rules.extend(match &ours.task {
            Some(task) if task.kind == TaskKind::Span => {
                [Rule::Prefix { theirs: "qa_outputs.", ours: "task.output." }].as_slice()
            }
            Some(task) if !task.kind.is_of_tokens() && self.own_transform => &[
                Rule::Prefix { theirs: "classifier.dense.", ours: "pooler.dense." },
                Rule::Prefix { theirs: "classifier.out_proj.", ours: "task.output." },
            ],
            Some(_) => &[Rule::Prefix { theirs: "classifier.", ours: "task.output." }],
            None => &[],
        });
        rules
    }
}

fn task_head(class: &str, theirs: &Config) -> Result<Option<TaskHeadConfig>, ConfigError> {
    let (labels, names) = theirs.labels.names();
    let kind = match class {
        "Model" | MASKED => return Ok(None),
        SEQUENCE => theirs.labels.of_texts(labels),
        TOKENS => TaskKind::Tags(labels),
        SPAN => TaskKind::Span,
        other => {
            let expected = format!("Model, {MASKED}, {SEQUENCE}, {TOKENS} or {SPAN}");
            return Err(ConfigError::new("architectures", other, expected));
        }
    };
    let dropout = theirs.classifier_dropout.unwrap_or(theirs.hidden_dropout_prob);
    let names = if kind == TaskKind::Span { Vec::new() } else { names };
    Ok(Some(TaskHeadConfig { dropout, ..TaskHeadConfig::new(kind, names) }))
}

const BLOCKS: &[Rule] = &[
    Rule::Prefix { theirs: "embeddings.word_embeddings.", ours: "embedding.words." },
    Rule::Prefix { theirs: "embeddings.position_embeddings.", ours: "embedding.positions." },
    Rule::Prefix { theirs: "embeddings.token_type_embeddings.", ours: "embedding.types." },
    Rule::Prefix { theirs: "embeddings.LayerNorm.", ours: "embedding.norm." },
    Rule::Prefix { theirs: "encoder.layer.", ours: "backbone.layers." },
    // Attention has an `output` of its own.
    Rule::Path { theirs: "*.layers.*.output.LayerNorm", ours: "*.layers.*.feed_forward_norm" },
    Rule::Path { theirs: "*.layers.*.output.dense", ours: "*.layers.*.feed_forward.output" },
    Rule::Segments { theirs: "intermediate.dense", ours: "feed_forward.hidden" },
];

const ATTENTION: &[Rule] = &[
    Rule::Segments { theirs: "attention.output.LayerNorm", ours: "attention_norm" },
    Rule::Attention {
        theirs: "attention",
        projections: ["self.query", "self.key", "self.value", "output.dense"],
    },
];

const MPNET_ATTENTION: &[Rule] = &[
    Rule::Prefix { theirs: "encoder.relative_attention_bias.", ours: "backbone.relative." },
    Rule::Segments { theirs: "attention.LayerNorm", ours: "attention_norm" },
    Rule::Attention { theirs: "attention.attn", projections: ["q", "k", "v", "o"] },
];

const BERT_HEAD: &[Rule] = &[
    Rule::Prefix { theirs: "cls.predictions.transform.dense.", ours: "language.dense." },
    Rule::Prefix { theirs: "cls.predictions.transform.LayerNorm.", ours: "language.norm." },
    Rule::Prefix { theirs: "cls.predictions.bias", ours: "language.bias" },
];

const ROBERTA_HEAD: &[Rule] = &[
    Rule::Prefix { theirs: "lm_head.dense.", ours: "language.dense." },
    Rule::Prefix { theirs: "lm_head.layer_norm.", ours: "language.norm." },
    Rule::Prefix { theirs: "lm_head.bias", ours: "language.bias" },
];
