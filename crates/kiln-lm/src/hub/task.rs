//! Task heads in the `config.json` of published models.

use crate::config::{TaskHeadConfig, TaskKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const SINGLE: &str = "single_label_classification";
const MULTI: &str = "multi_label_classification";
const REGRESSION: &str = "regression";

/// The keys of a head that predicts labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LabelKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    problem_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<Map<String, Value>>,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
}

impl LabelKeys {
    /// The keys of a head.
    pub(super) fn of(task: &TaskHeadConfig) -> Self {
        let problem_type = match task.kind {
            TaskKind::Classes(_) => Some(SINGLE),
            TaskKind::Labels(_) => Some(MULTI),
            TaskKind::Numbers(_) => Some(REGRESSION),
            TaskKind::Tags(_) | TaskKind::Span | TaskKind::Order => None,
        };
        let ids = 0..task.kind.outputs();
        Self {
            problem_type: problem_type.map(Into::into),
            id2label: Some(ids.clone().map(|id| (id.to_string(), task.name(id).into())).collect()),
            label2id: Some(ids.map(|id| (task.name(id), id.into())).collect()),
            num_labels: None,
        }
    }

    /// Number of labels, and their names in order; generic names (`LABEL_0`) are left out.
    pub(super) fn names(&self) -> (usize, Vec<String>) {
        let Some(named) = &self.id2label else { return (self.num_labels.unwrap_or(2), Vec::new()) };
        let name = |id: usize| Some(named.get(&id.to_string())?.as_str()?.to_owned());
        let names: Vec<String> = (0..named.len()).map_while(name).collect();
        let specific = names.iter().enumerate().any(|(id, name)| *name != format!("LABEL_{id}"));
        let kept = if specific && names.len() == named.len() { names } else { Vec::new() };
        (named.len(), kept)
    }

    /// The kind of a head for texts.
    pub(super) fn of_texts(&self, labels: usize) -> TaskKind {
        match self.problem_type.as_deref() {
            Some(MULTI) => TaskKind::Labels(labels),
            Some(REGRESSION) => TaskKind::Numbers(labels),
            None if labels == 1 => TaskKind::Numbers(1),
            _ => TaskKind::Classes(labels),
        }
    }
}
