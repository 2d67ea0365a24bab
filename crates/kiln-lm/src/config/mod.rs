//! Configuration of language models: parts that combine freely.
//!
//! BERT, GPT-2, Llama and T5 are presets and name maps over these parts.

mod parts;

pub use parts::{
    AttentionPoolingConfig, BranchesConfig, EmbeddingConfig, Format, GeneratorConfig,
    LanguageHeadConfig, PoolerConfig, Pooling, SpecialIds, Stacks, TaskHeadConfig, TaskKind,
};

use kiln_nn::{ConfigError, TransformerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Configuration of a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextModelConfig {
    /// Vocabulary size.
    pub vocabulary: usize,
    /// Hidden size: features of a token.
    pub width: usize,
    /// Input embedding.
    pub embedding: EmbeddingConfig,
    /// Transformer blocks: an encoder, a decoder where `causal`, or the encoder of an
    /// encoder-decoder.
    pub backbone: TransformerConfig,
    /// Task-specific branches above the backbone, for understanding and for generation (ERNIE 3.0).
    /// Such a model is not `causal`, and generates all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branches: Option<BranchesConfig>,
    /// Causal attention: whether a token attends only to itself and those before.
    pub causal: bool,
    /// Decoder with cross-attention of an encoder-decoder; absent in encoders and decoders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<TransformerConfig>,
    /// Language-model head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageHeadConfig>,
    /// Pooler: one vector per text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler: Option<PoolerConfig>,
    /// Task head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskHeadConfig>,
    /// Task heads of several tasks, each by the name that `data.tasks` gives it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, TaskHeadConfig>,
    /// A head with a number per token: ELECTRA's discriminator for `replaced-token-detection`, or the
    /// value head of `reward-weighted.awr`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub discriminator: bool,
    /// Generator of ELECTRA for `replaced-token-detection`; the model itself if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorConfig>,
    /// Bottleneck decoders, which reconstruct a text from its vector, for `retromae`: one for each,
    /// the last for those that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Stacks>,
    /// Special token ids.
    pub special: SpecialIds,
    /// Initialiser range: the standard deviation of random weights, with biases of zero, as BERT and
    /// GPT-2 have them; what each layer has by itself if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_deviation: Option<f64>,
    /// The published family as which model directories are written; whichever can express the
    /// model if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
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
            branches: None,
            causal: true,
            decoder: None,
            language: Some(LanguageHeadConfig::default()),
            pooler: None,
            task: None,
            tasks: BTreeMap::new(),
            discriminator: false,
            generator: None,
            bottleneck: None,
            special: SpecialIds::default(),
            initial_deviation: Some(0.02),
            format: None,
        }
    }
}

impl TextModelConfig {
    /// Maximum sequence length, tokens; `None` where only attention knows positions.
    pub fn longest(&self) -> Option<usize> {
        let EmbeddingConfig { positions, first_position, .. } = self.embedding;
        (positions > 0).then(|| positions.saturating_sub(first_position))
    }

    /// Pooling where no pooler is configured: of decoders the last token, which alone attends to
    /// all.
    pub fn default_pooling(&self) -> Pooling {
        if self.causal { Pooling::Last } else { Pooling::Mean }
    }

    /// Whether it generates by itself, token by token: a causal language model.
    pub fn generates(&self) -> bool {
        self.causal || self.branches.is_some()
    }

    /// Blocks above the backbone that a text passes at most.
    pub fn branch_layers(&self) -> usize {
        self.branches.map_or(0, |branches| branches.understanding.max(branches.generation))
    }

    /// The head for a task of this name, or for the one task that has none.
    pub fn head(&self, name: Option<&str>) -> Option<&TaskHeadConfig> {
        name.map_or(self.task.as_ref(), |name| self.tasks.get(name))
    }

    /// All heads for tasks, with the names of those that have one.
    pub fn heads(&self) -> impl Iterator<Item = (Option<&str>, &TaskHeadConfig)> {
        let named = self.tasks.iter().map(|(name, head)| (Some(&name[..]), head));
        self.task.iter().map(|head| (None, head)).chain(named)
    }

    /// Whether its task head is a cross-encoder: one number of a text or a pair.
    pub fn ranks(&self, task: Option<&str>) -> bool {
        self.head(task).is_some_and(|head| head.kind == TaskKind::Numbers(1))
    }

    /// The block of a parameter, counted from the input, and the number of blocks; `None` outside
    /// blocks.
    pub fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        let encoder = self.backbone.layers;
        let above = self.decoder.as_ref().map_or(0, |decoder| decoder.layers);
        let all = encoder + above + self.branch_layers();
        let block = |stack: &str| {
            let name = parameter.strip_prefix(stack)?.strip_prefix(".layers.")?;
            name.split('.').next()?.parse::<usize>().ok()
        };
        let above = ["decoder", "branches.understanding", "branches.generation"];
        let above = || above.into_iter().find_map(block).map(|number| encoder + number);
        block("backbone").or_else(above).map(|block| (block, all))
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
        for stack in self.bottleneck.iter().flat_map(|stacks| &stacks.0) {
            stack.validate(self.width).map_err(|error| error.within("bottleneck"))?;
        }
        if let Some(generator) = &self.generator {
            generator.validate().map_err(|error| error.within("generator"))?;
        }
        if let Some(branches) = self.branches {
            ConfigError::positive("branches.understanding", branches.understanding)?;
            ConfigError::positive("branches.generation", branches.generation)?;
            if self.causal || self.decoder.is_some() {
                let found = if self.causal { "a causal model" } else { "an encoder-decoder" };
                let expected = "an encoder below them, which sees all where it understands";
                return Err(ConfigError::new("branches", found, expected));
            }
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
            (
                "generator.backbone.channel_attention",
                self.generator.as_ref().is_some_and(|g| g.backbone.channel_attention),
            ),
        ] {
            if channels {
                return Err(ConfigError::new(key, true, "false: text has one channel"));
            }
        }
        if let Some(pooling) = self.pooler.and_then(|pooler| pooler.attention) {
            ConfigError::positive("pooler.attention.layers", pooling.layers)?;
        }
        for (name, head) in self.heads() {
            let key = name.map_or_else(|| "task".to_owned(), |name| format!("tasks.{name}"));
            head.validate().map_err(|error| error.within(&key))?;
            if head.kind == TaskKind::Order && !self.width.is_multiple_of(2) {
                let expected = "even, for places to point to";
                return Err(ConfigError::new("width", self.width, expected));
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
    fn a_bottleneck_is_one_stack_or_several() {
        let stacks = |json: &str| serde_json::from_str::<Stacks>(json).map(|stacks| stacks.0);
        let one = stacks(r#"{"layers": 1}"#).unwrap();
        let both = stacks(r#"[{"layers": 1}, {"layers": 2}]"#).unwrap();
        assert_eq!((one.len(), both.len(), both[1].layers), (1, 2, 2));
        assert_eq!(both[0], one[0]);
        assert!(stacks(r#"[{"layres": 1}]"#).unwrap_err().to_string().contains("layres"));
        let three = Stacks(both).resized(3).0;
        assert_eq!(three.iter().map(|stack| stack.layers).collect::<Vec<_>>(), [1, 2, 2]);
        let config = TextModelConfig {
            bottleneck: Some(Stacks(vec![TransformerConfig { heads: 5, ..one[0].clone() }])),
            ..TextModelConfig::default()
        };
        assert_eq!(config.validate().unwrap_err().key, "bottleneck.heads");
    }

    #[test]
    fn poolers_go_there_and_back() {
        for pooler in [PoolerConfig::of_first(), PoolerConfig::of_last()] {
            let config = TextModelConfig { pooler: Some(pooler), ..TextModelConfig::default() };
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TextModelConfig>(&json).unwrap(), config);
        }
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
        let attention = Some(AttentionPoolingConfig { layers: 0 });
        let pooler = PoolerConfig { attention, ..PoolerConfig::default() };
        assert_eq!(key(&|c| c.pooler = Some(pooler)), "pooler.attention.layers");
    }

    #[test]
    fn blocks_are_counted_through() {
        let config = TextModelConfig {
            decoder: Some(TransformerConfig { layers: 2, ..TransformerConfig::default() }),
            ..TextModelConfig::default()
        };
        assert_eq!(config.layer_index("backbone.layers.3.attention.query.weight"), Some((3, 6)));
        assert_eq!(config.layer_index("decoder.layers.1.attention_norm.bias"), Some((5, 6)));
        assert_eq!(config.layer_index("embedding.words.weight"), None);
    }
}
