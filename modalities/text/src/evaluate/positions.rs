//! Whether a model has positions for the sequences of an evaluation.

use crate::recipe::{EvaluationKind, TextEvaluation, TextSpec, task_key};
use kiln_train::recipe::Recipe;

/// Evaluation sequences longer than the model's positions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "evaluation `{name}` has sequences of {asked} tokens; the model has positions for {most}: lower \
     `{key}`"
)]
pub struct TooLong {
    /// The evaluation.
    pub name: String,
    /// The key that says how long they are.
    pub key: String,
    /// Tokens.
    pub asked: usize,
    /// Positions.
    pub most: usize,
}

impl kiln_core::blame::Blamed for TooLong {}

/// Checks that the model has positions for the sequences of an evaluation.
pub(crate) fn fits(
    recipe: &Recipe<TextSpec>,
    evaluation: &TextEvaluation,
    positions: Option<usize>,
) -> Result<(), TooLong> {
    let data = recipe.last_data();
    let (key, asked) = match &evaluation.kind {
        EvaluationKind::Language(_) => ("data.packing.length".to_owned(), data.packing.length),
        EvaluationKind::Probe(probe) => ("kind.probe.length".to_owned(), probe.length),
        EvaluationKind::Task(settings) => {
            let wanted = settings.task.as_deref();
            let tasks = data.tasks().filter(|(name, _)| wanted.is_none() || *name == wanted);
            let longest = tasks.max_by_key(|(_, task)| task.length);
            let Some((name, task)) = longest else { return Ok(()) };
            (format!("data.{}.length", task_key(name)), task.length)
        }
        EvaluationKind::Retrieval(settings) => {
            let Some(length) = settings.length else { return Ok(()) };
            ("kind.retrieval.length".to_owned(), length)
        }
        EvaluationKind::Samples(_) => return Ok(()),
    };
    match positions.filter(|most| asked > *most) {
        Some(most) => Err(TooLong { name: evaluation.name.clone(), key, asked, most }),
        None => Ok(()),
    }
}
