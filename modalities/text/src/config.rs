//! The configuration of a text model: parts, put together freely.
//!
//! BERT, GPT-2, Llama and T5 are presets and name maps over these parts, see [`crate::hub`].

use kiln_nn::{Activation, ConfigError, TransformerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextModelConfig {
    /// Ids that it knows.
    pub vocabulary: usize,
    /// Features of a token.
    pub width: usize,
    /// How ids become vectors.
    pub embedding: EmbeddingConfig,
    /// What tokens pass through: an encoder, a decoder where `causal`, or the encoder of an
    /// encoder-decoder.
    pub backbone: TransformerConfig,
    /// Whether a token sees only itself and what came before: a language model.
    pub causal: bool,
    /// Writes what the encoder read; absent where there is nothing but the backbone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<TransformerConfig>,
    /// A head that scores the vocabulary for each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageHeadConfig>,
    /// Makes one vector of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler: Option<PoolerConfig>,
    /// A head for a task with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskHeadConfig>,
    /// A head that tells tokens that were replaced, for `replaced`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub judge: bool,
    /// A small backbone that tells a text again from its vector, for `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<TransformerConfig>,
    /// Ids with a meaning of their own.
    pub special: SpecialIds,
    /// The deviation of random weights, and biases of zero, as BERT and GPT-2 have them; what each
    /// layer has by itself if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_deviation: Option<f64>,
    /// The published family as which model directories are written; whichever can express the
    /// model if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How ids become vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingConfig {
    /// Learnt vectors of positions: the longest text, in tokens, with `first_position`. None if 0,
    /// where attention itself knows positions.
    pub positions: usize,
    /// The position of the first token; with one above zero, padding has the one before, as in
    /// RoBERTa.
    pub first_position: usize,
    /// Learnt vectors of segments: first text, second text. None if 0.
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

/// Makes one vector of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolerConfig {
    /// Of which tokens.
    pub pooling: Pooling,
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
        Self { pooling: Pooling::First, transform: Some(Activation::Tanh), bias: true, norm: false }
    }
}

impl PoolerConfig {
    /// The last token as it is: decoders.
    pub fn of_last() -> Self {
        Self { pooling: Pooling::Last, transform: None, ..Self::default() }
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
}

impl TaskKind {
    /// Values that the head gives.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classes(count) | Self::Labels(count) | Self::Numbers(count) => count,
            Self::Tags(count) => count,
            Self::Span => 2,
        }
    }

    /// Whether it looks at each token rather than at the whole text.
    pub fn is_of_tokens(self) -> bool {
        matches!(self, Self::Tags(_) | Self::Span)
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
    Llama,
    Qwen2,
    T5,
    /// Our own, which expresses every model.
    KilnText,
}

impl Default for TextModelConfig {
    /// A small language model: four blocks of GPT-2's kind.
    fn default() -> Self {
        Self {
            vocabulary: 256,
            width: 128,
            embedding: EmbeddingConfig::default(),
            backbone: TransformerConfig {
                layers: 4,
                heads: 4,
                final_norm: true,
                ..TransformerConfig::default()
            },
            causal: true,
            decoder: None,
            language: Some(LanguageHeadConfig::default()),
            pooler: None,
            task: None,
            judge: false,
            bottleneck: None,
            special: SpecialIds::default(),
            initial_deviation: Some(0.02),
            format: None,
        }
    }
}

impl TextModelConfig {
    /// The longest text, tokens; `None` where attention alone knows positions.
    pub fn longest(&self) -> Option<usize> {
        let EmbeddingConfig { positions, first_position, .. } = self.embedding;
        (positions > 0).then(|| positions.saturating_sub(first_position))
    }

    /// Which tokens a text's vector is made of where no pooler says so: of decoders the last, which
    /// alone has seen all.
    pub fn default_pooling(&self) -> Pooling {
        if self.causal { Pooling::Last } else { Pooling::Mean }
    }

    /// The block of a parameter, counted from the input, and the number of blocks; `None` outside
    /// blocks.
    pub fn depth(&self, parameter: &str) -> Option<(usize, usize)> {
        let encoder = self.backbone.layers;
        let all = encoder + self.decoder.as_ref().map_or(0, |decoder| decoder.layers);
        let block = |stack: &str| {
            let name = parameter.strip_prefix(stack)?.strip_prefix(".layers.")?;
            name.split('.').next()?.parse::<usize>().ok()
        };
        let block = block("backbone").or_else(|| Some(encoder + block("decoder")?));
        block.map(|block| (block, all))
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// When a setting is out of range or two contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("vocabulary", self.vocabulary)?;
        ConfigError::positive("width", self.width)?;
        ConfigError::dropout("embedding.dropout", self.embedding.dropout)?;
        if self.embedding.positions > 0 && self.longest() == Some(0) {
            let expected = format!("below the {} positions", self.embedding.positions);
            let found = self.embedding.first_position;
            return Err(ConfigError::new("embedding.first_position", found, expected));
        }
        self.backbone.validate(self.width).map_err(|error| error.within("backbone"))?;
        if let Some(bottleneck) = &self.bottleneck {
            bottleneck.validate(self.width).map_err(|error| error.within("bottleneck"))?;
        }
        if let Some(decoder) = &self.decoder {
            decoder.validate(self.width).map_err(|error| error.within("decoder"))?;
            if self.causal {
                let expected = "false: the encoder of an encoder-decoder sees all of its text";
                return Err(ConfigError::new("causal", true, expected));
            }
        }
        for (key, channels) in [
            ("backbone.channel_attention", self.backbone.channel_attention),
            (
                "decoder.channel_attention",
                self.decoder.as_ref().is_some_and(|d| d.channel_attention),
            ),
        ] {
            if channels {
                return Err(ConfigError::new(key, true, "false: text has one channel"));
            }
        }
        if let Some(task) = &self.task {
            ConfigError::positive("task.kind", task.kind.outputs())?;
            ConfigError::dropout("task.dropout", task.dropout)?;
            let (names, outputs) = (task.names.len(), task.kind.outputs());
            if names > 0 && names != outputs {
                let expected = format!("{outputs}, one for each output");
                return Err(ConfigError::new("task.names", names, expected));
            }
        }
        if let Some(deviation) = self.initial_deviation
            && !(deviation > 0.0 && deviation.is_finite())
        {
            return Err(ConfigError::new("initial_deviation", deviation, "above 0"));
        }
        let SpecialIds { pad, bos, eos, mask, decoder_start, sentinels } = self.special;
        let special = [
            ("pad", pad),
            ("bos", bos),
            ("eos", eos),
            ("mask", mask),
            ("decoder_start", decoder_start),
            ("sentinels", sentinels.map(|[first, last]| first.max(last))),
        ];
        for (key, id) in special {
            if let Some(id) = id.filter(|id| *id as usize >= self.vocabulary) {
                let expected = format!("below the vocabulary of {}", self.vocabulary);
                return Err(ConfigError::new(format!("special.{key}"), id, expected));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_together_and_go_there_and_back() {
        let config = TextModelConfig::default();
        config.validate().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TextModelConfig>(&json).unwrap(), config);
        assert!(serde_json::from_str::<TextModelConfig>(r#"{"widht": 3}"#).is_err());
    }

    #[test]
    fn contradictions_name_the_key() {
        let key = |change: &dyn Fn(&mut TextModelConfig)| {
            let mut config = TextModelConfig::default();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(key(&|c| c.backbone.heads = 5), "backbone.heads");
        assert_eq!(key(&|c| c.decoder = Some(c.backbone.clone())), "causal");
        assert_eq!(key(&|c| c.special.eos = Some(256)), "special.eos");
        assert_eq!(key(&|c| c.embedding.first_position = 512), "embedding.first_position");
    }

    #[test]
    fn blocks_are_counted_through() {
        let config = TextModelConfig {
            decoder: Some(TransformerConfig { layers: 2, ..TransformerConfig::default() }),
            ..TextModelConfig::default()
        };
        assert_eq!(config.depth("backbone.layers.3.attention.query.weight"), Some((3, 6)));
        assert_eq!(config.depth("decoder.layers.1.attention_norm.bias"), Some((5, 6)));
        assert_eq!(config.depth("embedding.words.weight"), None);
    }
}
