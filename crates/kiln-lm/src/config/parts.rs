//! The parts of a text model.

use kiln_nn::{Activation, ConfigError, TransformerConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer,
    },
};
use std::{borrow::Cow, fmt};

/// How ids become vectors.
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
    /// The share dropped of the sum while training.
    pub dropout: f64,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self { positions: 512, first_position: 0, types: 0, norm: false, dropout: 0.0 }
    }
}

/// Branches above shared blocks, of the backbone's kind: one that a text takes whose tokens see all,
/// and one that it takes as it is written. ERNIE 3.0, <https://arxiv.org/abs/2107.02137>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchesConfig {
    /// Blocks of that which understands.
    pub understanding: usize,
    /// Blocks of that which writes.
    pub generation: usize,
}

/// A head that scores the vocabulary for each token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageHeadConfig {
    /// A layer of the model's width before it, with this activation and a norm: BERT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Activation>,
    /// Whether that layer has a bias.
    pub transform_bias: bool,
    /// Whether scores are products with the embedding's vectors, <https://arxiv.org/abs/1608.05859>.
    pub tied: bool,
    /// Whether each id has a bias.
    pub bias: bool,
    /// What tokens are multiplied by before they are scored.
    pub scale: f64,
}

impl Default for LanguageHeadConfig {
    fn default() -> Self {
        Self { transform: None, transform_bias: true, tied: true, bias: false, scale: 1.0 }
    }
}

/// Proposes tokens in the place of hidden ones, for `replaced`: a smaller backbone over the model's
/// vectors of ids, whose own vectors the model's language head scores. ELECTRA,
/// <https://arxiv.org/abs/2003.10555>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Features of its tokens.
    pub width: usize,
    /// What they pass through.
    pub backbone: TransformerConfig,
}

impl GeneratorConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("width", self.width)?;
        self.backbone.validate(self.width).map_err(|error| error.within("backbone"))
    }
}

/// Makes one vector of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolerConfig {
    /// Of which tokens.
    pub pooling: Pooling,
    /// Attention pooling: a small decoder whose one learned query attends to all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionPoolingConfig>,
    /// A layer of the model's width after it, with this activation.
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

/// Which tokens a text's vector is made of.
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

/// A head for a task with labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskHeadConfig {
    /// What it predicts.
    pub kind: TaskKind,
    /// The share dropped of what it reads, while training.
    #[serde(default)]
    pub dropout: f64,
    /// Whether it has biases.
    #[serde(default = "yes")]
    pub bias: bool,
    /// What its outputs are called, in their order; nothing if empty.
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

    /// What an output is called.
    pub fn name(&self, output: usize) -> String {
        self.names.get(output).cloned().unwrap_or_else(|| format!("LABEL_{output}"))
    }
}

fn yes() -> bool {
    true
}

/// What a head for a task predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One of so many classes of a text.
    Classes(usize),
    /// Any of so many labels of a text.
    Labels(usize),
    /// So many numbers of a text: similarity, relevance.
    Numbers(usize),
    /// One of so many tags of each token.
    Tags(usize),
    /// Where in the text an answer begins and ends.
    Span,
    /// Which place each of a text's segments belongs at, by pointing to it,
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

/// Ids with a meaning of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpecialIds {
    /// Fills up short texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<u32>,
    /// Begins a text; `[CLS]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// Ends a text; `[SEP]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos: Option<u32>,
    /// Stands for what is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
    /// What an encoder-decoder begins to write after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start: Option<u32>,
    /// The first and the last of the ids that stand for what was taken out of a text, in the order
    /// of their use, rising or falling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<[u32; 2]>,
}

impl SpecialIds {
    /// What stands before all that an encoder-decoder writes.
    pub fn start(&self) -> u32 {
        self.decoder_start.or(self.bos).or(self.pad).unwrap_or(0)
    }

    /// The ids that stand for what was taken out of a text, in the order of their use.
    pub fn sentinels(&self) -> Vec<u32> {
        match self.sentinels {
            Some([first, last]) if first <= last => (first..=last).collect(),
            Some([first, last]) => (last..=first).rev().collect(),
            None => Vec::new(),
        }
    }
}

/// How a model directory names and orders things, by its `model_type`.
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
