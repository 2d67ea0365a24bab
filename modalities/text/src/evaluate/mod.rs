//! Evaluation of a finished model, beside baselines.

mod bootstrap_ci;
mod language;
mod masked;
mod order;
mod probe;
mod qa;
mod retrieval;
mod samples;
mod seq2seq;
mod similarity;
mod task;

use crate::{
    opened,
    recipe::{EvaluationKind, TextEvaluation, TextSpec, task_key},
};
use kiln_core::{AutodiffBackend, Backend, Seed};
use kiln_lm::TextModel;
use kiln_nn::quantized;
use kiln_tokenize::TextTokenizer;
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Recipe,
    results::{Evaluation, ResultRow},
    task::TaskError,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Evaluates a model directory as a recipe says.
///
/// # Errors
/// When the model or the text cannot be read.
pub fn evaluate(
    recipe: &Recipe<TextSpec>,
    model: &Path,
    seed: Seed,
) -> Result<Evaluation, TaskError> {
    if recipe.evaluation.is_empty() {
        return Ok(Evaluation::default());
    }
    dispatch::on(recipe.device, Measure { recipe, model, seed })?
}

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

/// An evaluation that waits for its backend.
struct Measure<'a> {
    recipe: &'a Recipe<TextSpec>,
    model: &'a Path,
    seed: Seed,
}

impl OnBackend for Measure<'_> {
    type Output = Result<Evaluation, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { recipe, model, seed } = self;
        let dir = model;
        let (tokenizer, model) = opened::open::<B::InnerBackend>(dir, &device)?;
        let tokenizer = Arc::new(tokenizer);
        let mut all = Evaluation::default();
        for evaluation in &recipe.evaluation {
            fits(recipe, evaluation, model.config().longest())?;
        }
        let integers = recipe.evaluation.iter().any(|evaluation| evaluation.int8);
        let integers = integers.then(|| quantized(model.clone()));
        for evaluation in &recipe.evaluation {
            let subject = Subject {
                model: integers.as_ref().filter(|_| evaluation.int8).unwrap_or(&model),
                dir,
                recipe,
                evaluation,
                tokenizer: &tokenizer,
                seed,
                device: &device,
            };
            match &evaluation.kind {
                EvaluationKind::Language(settings) => all.rows.extend(subject.language(settings)?),
                EvaluationKind::Samples(settings) => all.sections.push(subject.samples(settings)?),
                EvaluationKind::Task(settings) => all.rows.extend(subject.task(settings)?),
                EvaluationKind::Probe(settings) => all.rows.extend(subject.probe(settings)?),
                EvaluationKind::Retrieval(settings) => {
                    let found = subject.retrieval(settings)?;
                    all.rows.extend(found.rows);
                    all.sections.extend(found.sections);
                }
            }
        }
        Ok(all)
    }
}

/// The model under evaluation, and its data.
struct Subject<'a, B: Backend> {
    model: &'a TextModel<B>,
    /// Its directory.
    dir: &'a Path,
    recipe: &'a Recipe<TextSpec>,
    evaluation: &'a TextEvaluation,
    tokenizer: &'a Arc<TextTokenizer>,
    seed: Seed,
    device: &'a B::Device,
}

impl<B: Backend> Subject<'_, B> {
    /// A row of the results table.
    fn row(
        &self,
        task: &str,
        split: &str,
        metric: &str,
        value: f64,
        baselines: &[(&str, f64)],
    ) -> ResultRow {
        ResultRow {
            task: task.into(),
            dataset: self.evaluation.name.clone(),
            split: split.into(),
            metric: metric.into(),
            value,
            baselines: baselines
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}
