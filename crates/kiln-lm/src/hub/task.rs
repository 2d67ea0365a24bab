//! Heads for tasks, as the `config.json` of published models tells of them.

use super::class;
use crate::config::{PoolerConfig, TaskHeadConfig, TaskKind, TextModelConfig};
use kiln_nn::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the class of a decoder with a head for the vocabulary ends in.
pub(super) const LANGUAGE: &str = "ForCausalLM";
/// What the class of a decoder with a head for texts ends in.
pub(super) const SEQUENCE: &str = "ForSequenceClassification";
/// What the class of one without a head ends in.
const MODEL: &str = "Model";

/// What the class of a decoder ends in after the name of its family.
pub(super) fn decoder_class(
    architectures: &Option<Vec<String>>,
    family: &str,
) -> Result<&'static str, ConfigError> {
    let default = format!("{family}{MODEL}");
    let name = class(architectures, &default);
    let end = name.strip_prefix(family).unwrap_or_default();
    [MODEL, LANGUAGE, SEQUENCE].into_iter().find(|known| *known == end).ok_or_else(|| {
        let expected = format!("{default}, {family}{LANGUAGE} or {family}{SEQUENCE}");
        ConfigError::new("architectures", name, expected)
    })
}

/// What the class of a decoder of ours ends in.
pub(super) fn class_of(ours: &TextModelConfig) -> &'static str {
    match (&ours.language, &ours.task) {
        (Some(_), _) => LANGUAGE,
        (None, Some(_)) => SEQUENCE,
        (None, None) => MODEL,
    }
}

/// What `config.json` tells of a decoder's head for texts, which reads the last token and has no
/// bias.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DecoderHead {
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem_type: Option<String>,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
}

impl DecoderHead {
    /// The head of our configuration; `None` where no published decoder has such a one.
    pub(super) fn of(ours: &TextModelConfig) -> Option<Self> {
        let Some(task) = &ours.task else { return Some(Self::default()) };
        let fits = !task.kind.is_of_tokens() && ours.language.is_none();
        fits.then(|| Self {
            id2label: Some(id2label(task)),
            label2id: Some(label2id(task)),
            problem_type: problem_type(task.kind).map(Into::into),
            num_labels: None,
        })
    }

    /// A configuration with the head.
    pub(super) fn on(&self, ours: TextModelConfig) -> TextModelConfig {
        let (labels, names) = names(self.id2label.as_ref(), self.num_labels);
        let kind = of_texts(self.problem_type.as_deref(), labels);
        TextModelConfig {
            task: Some(TaskHeadConfig { bias: false, ..TaskHeadConfig::new(kind, names) }),
            pooler: Some(PoolerConfig::of_last()),
            ..ours
        }
    }
}

const SINGLE: &str = "single_label_classification";
const MULTI: &str = "multi_label_classification";
const REGRESSION: &str = "regression";

/// What outputs are called, in their order, and how many there are; names that say nothing are left
/// out.
pub(super) fn names(
    id2label: Option<&Map<String, Value>>,
    labels: Option<usize>,
) -> (usize, Vec<String>) {
    let Some(named) = id2label else { return (labels.unwrap_or(2), Vec::new()) };
    let name = |id: usize| Some(named.get(&id.to_string())?.as_str()?.to_owned());
    let names: Vec<String> = (0..named.len()).map_while(name).collect();
    let said = names.iter().enumerate().any(|(id, name)| *name != format!("LABEL_{id}"));
    let kept = if said && names.len() == named.len() { names } else { Vec::new() };
    (named.len(), kept)
}

/// What is predicted of texts.
pub(super) fn of_texts(problem_type: Option<&str>, labels: usize) -> TaskKind {
    match problem_type {
        Some(MULTI) => TaskKind::Labels(labels),
        Some(REGRESSION) => TaskKind::Numbers(labels),
        None if labels == 1 => TaskKind::Numbers(1),
        _ => TaskKind::Classes(labels),
    }
}

/// The `problem_type` of what is predicted, where there is one.
pub(super) fn problem_type(kind: TaskKind) -> Option<&'static str> {
    match kind {
        TaskKind::Classes(_) => Some(SINGLE),
        TaskKind::Labels(_) => Some(MULTI),
        TaskKind::Numbers(_) => Some(REGRESSION),
        TaskKind::Tags(_) | TaskKind::Span | TaskKind::Order => None,
    }
}

/// The `id2label` of a head.
pub(super) fn id2label(task: &TaskHeadConfig) -> Map<String, Value> {
    (0..task.kind.outputs()).map(|id| (id.to_string(), task.name(id).into())).collect()
}

/// The `label2id` that goes with it.
pub(super) fn label2id(task: &TaskHeadConfig) -> Map<String, Value> {
    (0..task.kind.outputs()).map(|id| (task.name(id), id.into())).collect()
}
