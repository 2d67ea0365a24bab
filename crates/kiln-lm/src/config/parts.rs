//! The parts of a language model's configuration.

use kiln_nn::{Activation, ConfigError, TransformerConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer,
    },
};
use std::{borrow::Cow, fmt};

/// Input embedding: tokens, positions and segments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingConfig {
    /// Learned position embeddings: the longest text, in tokens, with `first_position`. None if 0,
    /// where attention itself knows positions.
    pub positions: usize,
    /// The position of the first token; with one above zero, padding has the one before, as in
    /// RoBERTa.
    pub first_position: usize,
    /// Learned segment embeddings: first text, second text. None if 0.
    pub types: usize,
    /// Whether the sum is normalised.
    pub norm: bool,
    /// Dropout of the sum.
    pub dropout: f64,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self { positions: 512, first_position: 0, types: 0, norm: false, dropout: 0.0 }
    }
}

/// Task-specific branches above shared blocks, of the backbone's kind: one with bidirectional
/// attention for understanding, one with causal attention for generation. ERNIE 3.0, <https://arxiv.org/abs/2107.02137>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchesConfig {
    /// Blocks of that for understanding.
    pub understanding: usize,
    /// Blocks of that for generation.
    pub generation: usize,
}

/// Language-model head: logits of the vocabulary for each token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageHeadConfig {
    /// Transform before the output layer, with this activation and a norm: BERT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Activation>,
    /// Whether that layer has a bias.
    pub transform_bias: bool,
    /// Weight tying: whether logits are products with the token embedding, <https://arxiv.org/abs/1608.05859>.
    pub tied: bool,
    /// Whether the output layer has a bias.
    pub bias: bool,
    /// Factor of the hidden states before the output layer.
    pub scale: f64,
}

impl Default for LanguageHeadConfig {
    fn default() -> Self {
        Self { transform: None, transform_bias: true, tied: true, bias: false, scale: 1.0 }
    }
}

/// Generator of ELECTRA, which proposes tokens at masked places for `replaced-token-detection`: a
/// smaller backbone
/// over the model's token embedding, with the model's language-model head.
/// <https://arxiv.org/abs/2003.10555>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Hidden size.
    pub width: usize,
    /// Its transformer blocks.
    pub backbone: TransformerConfig,
}

impl GeneratorConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("width", self.width)?;
        self.backbone.validate(self.width).map_err(|error| error.within("backbone"))
    }
}

/// Pooler: one vector per text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolerConfig {
    /// Pooling.
    pub pooling: Pooling,
    /// Attention pooling: a small decoder whose one learned query attends to all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionPoolingConfig>,
    /// Transform after the pooling, with this activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Activation>,
    /// Whether that layer has a bias.
    pub bias: bool,
    /// Whether a norm follows it.
    pub norm: bool,
}

impl Default for PoolerConfig {
    fn default() -> Self {
        Self { pooling: Pooling::First, attention: None, transform: None, bias: true, norm: false }
    }
}

impl PoolerConfig {
    /// The first token through a layer: BERT.
    pub fn of_first() -> Self {
        Self { transform: Some(Activation::Tanh), ..Self::default() }
    }

    /// The last token as it is: decoders.
    pub fn of_last() -> Self {
        Self { pooling: Pooling::Last, ..Self::default() }
    }
}

/// Attention pooling: a small decoder whose one learned query attends to all tokens: EncT5,
/// <https://arxiv.org/abs/2110.08426>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionPoolingConfig {
    /// Its blocks, of the backbone's kind.
    pub layers: usize,
}

impl Default for AttentionPoolingConfig {
    fn default() -> Self {
        Self { layers: 1 }
    }
}

/// Pooling: which tokens a text's vector is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The first: BERT's `[CLS]`.
    #[default]
    First,
    /// The mean of all that are no padding.
    Mean,
    /// The last that is no padding: decoders.
    Last,
    /// The greatest value of each feature.
    Max,
    /// The sum over the root of how many there are.
    MeanRoot,
    /// The mean, each weighted by its place from 1.
    WeightedMean,
}

/// Task head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskHeadConfig {
    /// What it predicts.
    pub kind: TaskKind,
    /// Dropout of its input.
    #[serde(default)]
    pub dropout: f64,
    /// Whether it has biases.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Names of its outputs, in their order (`id2label`); none if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl TaskHeadConfig {
    /// A head without dropout.
    pub fn new(kind: TaskKind, names: Vec<String>) -> Self {
        Self { kind, dropout: 0.0, bias: true, names }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("kind", self.kind.outputs())?;
        ConfigError::dropout("dropout", self.dropout)?;
        let (names, outputs) = (self.names.len(), self.kind.outputs());
        if names > 0 && names != outputs {
            let expected = format!("{outputs}, one for each output");
            return Err(ConfigError::new("names", names, expected));
        }
        Ok(())
    }

    /// Name of an output.
    pub fn name(&self, output: usize) -> String {
        self.names.get(output).cloned().unwrap_or_else(|| format!("LABEL_{output}"))
    }
}

fn yes() -> bool {
    true
}

/// What a task head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Classification of a text: one of so many classes.
    Classes(usize),
    /// Multi-label classification of a text: any of so many labels.
    Labels(usize),
    /// Regression on a text: so many numbers, such as similarity or a ranking score.
    Numbers(usize),
    /// Token classification: one of so many tags of each token.
    Tags(usize),
    /// Extractive question answering: where an answer begins and ends.
    Span,
    /// Segment ordering by a pointer network: the place of each segment of a text,
    /// <https://arxiv.org/abs/2406.04156>.
    Order,
}

impl TaskKind {
    /// Values that the head gives, of a text or a token; of a segment the place that it points to.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classes(count) | Self::Labels(count) | Self::Numbers(count) => count,
            Self::Tags(count) => count,
            Self::Order => 1,
            Self::Span => 2,
        }
    }

    /// Whether it looks at tokens rather than at the whole text.
    pub fn is_of_tokens(self) -> bool {
        matches!(self, Self::Tags(_) | Self::Span | Self::Order)
    }
}

/// Special token ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpecialIds {
    /// Padding token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<u32>,
    /// Beginning of a sequence; `[CLS]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// End of a sequence; `[SEP]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos: Option<u32>,
    /// Mask token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
    /// Start token of the decoder of an encoder-decoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start: Option<u32>,
    /// Sentinels (T5): the first and the last of the ids that stand for removed spans, in the order
    /// of their use, rising or falling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<[u32; 2]>,
}

impl SpecialIds {
    /// Start token of the decoder of an encoder-decoder, or what serves as such.
    pub fn start(&self) -> u32 {
        self.decoder_start.or(self.bos).or(self.pad).unwrap_or(0)
    }

    /// Sentinels, in the order of their use.
    pub fn sentinels(&self) -> Vec<u32> {
        match self.sentinels {
            Some([first, last]) if first <= last => (first..=last).collect(),
            Some([first, last]) => (last..=first).rev().collect(),
            None => Vec::new(),
        }
    }
}

/// Layout of a model directory, by its `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "names of transformers")]
pub enum Format {
    Bert,
    Roberta,
    Mpnet,
    #[serde(rename = "modernbert")]
    ModernBert,
    Gpt2,
    Opt,
    Falcon,
    Llama,
    Qwen2,
    T5,
    /// Our own, which expresses every model.
    KilnText,
}
/// Stacks of blocks: written as one, or as a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Stacks(pub Vec<TransformerConfig>);

impl Stacks {
    /// So many: the last one serves for those that are not listed.
    pub fn resized(mut self, count: usize) -> Self {
        if let Some(last) = self.0.last().cloned() {
            self.0.resize(count, last);
        }
        self
    }
}

impl<'de> Deserialize<'de> for Stacks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Stacks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stack of blocks, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Stacks, A::Error> {
                let one = TransformerConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Stacks(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Stacks, A::Error> {
                Ok(Stacks(Vec::deserialize(SeqAccessDeserializer::new(list))?))
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

impl JsonSchema for Stacks {
    fn schema_name() -> Cow<'static, str> {
        "Stacks".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<TransformerConfig>();
        let several = generator.subschema_for::<Vec<TransformerConfig>>();
        json_schema!({ "description": "Stacks of blocks: one, or a list.", "anyOf": [one, several] })
    }
}
