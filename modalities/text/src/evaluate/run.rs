//! Runs the evaluations of a recipe.

use super::{positions::fits, subject::Subject};
use crate::{
    opened,
    recipe::{EvaluationKind, TextSpec},
};
use kiln_core::{AutodiffBackend, Seed};
use kiln_nn::quantized;
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Recipe,
    results::Evaluation,
    task::TaskError,
};
use std::{path::Path, sync::Arc};

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
