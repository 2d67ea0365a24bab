//! What the published decoders have in common: special ids, classes and heads.

use super::task::LabelKeys;
use crate::config::{
    LanguageHeadConfig, PoolerConfig, SpecialIds, TaskHeadConfig, TextModelConfig,
};
use kiln_hub::{Rule, family::known_class};
use kiln_nn::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The names of a decoder's classes: bare, with a language-model head, with a head for texts.
pub(super) type Classes = [&'static str; 3];

/// The keys of `config.json` that decoders share; a head for texts reads the last token and has no
/// bias.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DecoderKeys {
    #[serde(skip_serializing)]
    architectures: Option<Vec<String>>,
    tie_word_embeddings: bool,
    pad_token_id: Option<u32>,
    bos_token_id: Option<u32>,
    /// One, or several.
    eos_token_id: Value,
    #[serde(flatten)]
    labels: LabelKeys,
}

impl DecoderKeys {
    /// A family's defaults.
    pub(super) fn new(tied: bool, pad: Option<u32>, bos: Option<u32>, eos: Option<u32>) -> Self {
        Self {
            tie_word_embeddings: tied,
            pad_token_id: pad,
            bos_token_id: bos,
            eos_token_id: eos.into(),
            ..Self::default()
        }
    }

    /// The class and the keys of our configuration; `None` where no published decoder has such a
    /// head.
    pub(super) fn of(ours: &TextModelConfig, [bare, lm, texts]: Classes) -> Option<(String, Self)> {
        let SpecialIds { pad, bos, eos, .. } = ours.special;
        let keys = Self::new(ours.language.is_none_or(|head| head.tied), pad, bos, eos);
        let (class, keys) = match (&ours.language, &ours.task) {
            (Some(_), None) => (lm, keys),
            (None, None) => (bare, keys),
            (None, Some(task)) if !task.kind.is_of_tokens() => {
                (texts, Self { labels: LabelKeys::of(task), ..keys })
            }
            _ => return None,
        };
        Some((class.into(), keys))
    }

    /// A configuration with the special ids and the head of these keys.
    pub(super) fn apply(
        &self,
        classes: Classes,
        ours: TextModelConfig,
    ) -> Result<TextModelConfig, ConfigError> {
        let [_, lm, texts] = classes;
        let class = known_class(&self.architectures, &classes)?;
        let (labels, names) = self.labels.names();
        let kind = self.labels.of_texts(labels);
        let head = TaskHeadConfig { bias: false, ..TaskHeadConfig::new(kind, names) };
        let eos = self.eos_token_id.as_u64().or_else(|| self.eos_token_id.get(0)?.as_u64());
        Ok(TextModelConfig {
            causal: true,
            language: (class == lm).then_some(LanguageHeadConfig {
                tied: self.tie_word_embeddings,
                ..LanguageHeadConfig::default()
            }),
            task: (class == texts).then_some(head),
            pooler: (class == texts).then(PoolerConfig::of_last),
            special: SpecialIds {
                pad: self.pad_token_id,
                bos: self.bos_token_id,
                eos: eos.and_then(|id| id.try_into().ok()),
                ..SpecialIds::default()
            },
            ..ours
        })
    }
}

/// Name of a decoder's language-model head; a tied one has no weights of its own.
pub(super) fn language_rule(ours: &TextModelConfig) -> Rule {
    if ours.language.is_some_and(|head| head.tied) {
        Rule::Ignored { theirs: r"^lm_head\.weight$" }
    } else {
        Rule::Prefix { theirs: "lm_head.", ours: "language.output." }
    }
}

/// Names of a decoder's heads.
pub(super) fn head_rules(ours: &TextModelConfig) -> [Rule; 2] {
    [language_rule(ours), Rule::Prefix { theirs: "score.", ours: "task.output." }]
}

/// The prefix of the base model in classes with a head: `load` removes it, `save` adds it.
pub(super) fn inner_rule(
    ours: &TextModelConfig,
    load: &'static str,
    save: (&'static str, &'static str),
) -> Rule {
    let headed = ours.language.is_some() || ours.task.is_some();
    Rule::Regex { load: Some((load, "")), save: headed.then_some(save) }
}
