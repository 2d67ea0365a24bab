//! Task heads in the `config.json` of published models.

use crate::config::{TaskHeadConfig, TaskKind};
use serde_json::{Map, Value};

const SINGLE: &str = "single_label_classification";
const MULTI: &str = "multi_label_classification";
const REGRESSION: &str = "regression";

/// Number of labels, and their names in order; generic names (`LABEL_0`) are left out.
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

/// The kind of a head for texts.
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
