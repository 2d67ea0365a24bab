//! How good a finished model is, beside what one would try first.

mod alike;
mod answered;
mod baseline;
mod language;
mod masked;
mod order;
mod probe;
mod samples;
mod task;

use crate::{
    TextModel,
    recipe::{EvaluationKind, TextEvaluation, TextParts},
    tokenizer::TextTokenizer,
};
use kiln_core::{AutodiffBackend, Backend, Seed};
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Recipe,
    results::{Evaluation, ResultRow},
    task::TaskError,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Measures a model directory as a recipe says.
///
/// # Errors
/// When the model or the text cannot be read.
pub fn evaluate(
    recipe: &Recipe<TextParts>,
    model: &Path,
    seed: Seed,
) -> Result<Evaluation, TaskError> {
    if recipe.evaluation.is_empty() {
        return Ok(Evaluation::default());
    }
    dispatch::on(recipe.device, Measure { recipe, model, seed })?
}

/// A measurement that waits for its backend.
struct Measure<'a> {
    recipe: &'a Recipe<TextParts>,
    model: &'a Path,
    seed: Seed,
}

impl OnBackend for Measure<'_> {
    type Output = Result<Evaluation, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { recipe, model, seed } = self;
        let tokenizer = Arc::new(TextTokenizer::open(model)?);
        let model = TextModel::<B::InnerBackend>::load(model, &device)?;
        let mut all = Evaluation::default();
        for evaluation in &recipe.evaluation {
            let subject = Subject {
                model: &model,
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
            }
        }
        Ok(all)
    }
}

/// What is measured, and on what.
struct Subject<'a, B: Backend> {
    model: &'a TextModel<B>,
    recipe: &'a Recipe<TextParts>,
    evaluation: &'a TextEvaluation,
    tokenizer: &'a Arc<TextTokenizer>,
    seed: Seed,
    device: &'a B::Device,
}

impl<B: Backend> Subject<'_, B> {
    /// A line of the table.
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
