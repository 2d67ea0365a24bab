//! How good a finished model is, beside what one would try first.

use crate::{
    TextModel, data,
    examples::{Example, collate},
    generate::Verdict,
    ngram::Ngrams,
    recipe::{EvaluationKind, LanguageEvaluation, SampleEvaluation, TextEvaluation, TextParts},
    tokenizer::TextTokenizer,
};
use kiln_core::{AutodiffBackend, Backend, Objective as _, Seed, Size, StepContext};
use kiln_objectives::{Autoregressive, Objective};
use kiln_train::{
    dispatch::{self, OnBackend},
    progress::Progress,
    recipe::Recipe,
    results::{Evaluation, ResultRow, Section, SectionBody},
    task::TaskError,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Sequences of a batch.
const BATCH: usize = 16;
/// Training sequences that n-grams are counted in, at most.
const COUNTED: u64 = 20_000;

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
            match &evaluation.kind {
                EvaluationKind::Language(settings) => {
                    let rows =
                        language(&model, recipe, evaluation, settings, &tokenizer, seed, &device)?;
                    all.rows.extend(rows);
                }
                EvaluationKind::Samples(settings) => {
                    let section = samples(&model, &tokenizer, evaluation, settings, seed, &device)?;
                    all.sections.push(section);
                }
            }
        }
        Ok(all)
    }
}

/// Cross-entropy, perplexity and bits a byte of the text kept for validation.
fn language<B: Backend>(
    model: &TextModel<B>,
    recipe: &Recipe<TextParts>,
    evaluation: &TextEvaluation,
    settings: &LanguageEvaluation,
    tokenizer: &Arc<TextTokenizer>,
    seed: Seed,
    device: &B::Device,
) -> Result<Vec<ResultRow>, TaskError> {
    let source = recipe.stage.last().and_then(|stage| stage.data.as_ref()).unwrap_or(&recipe.data);
    let data = data::open(source, tokenizer.clone(), 1, seed)?;
    let step = data.validation.len().div_ceil(settings.limit.max(1)).max(1);
    let kept: Vec<&Example> = data.validation.iter().step_by(step).collect();
    if kept.is_empty() {
        let name = &evaluation.name;
        let problem = format!("evaluation `{name}`: `data.validation` keeps nothing to measure on");
        return Err(problem.into());
    }
    let progress = Progress::new(&evaluation.name, kept.len(), "sequences");
    let objective = Objective::Autoregressive(Autoregressive::default());
    let (mut nats, mut tokens, mut bytes) = (0.0, 0usize, 0usize);
    for examples in kept.chunks(BATCH) {
        let examples: Vec<Example> = examples.iter().map(|one| (*one).clone()).collect();
        let host = collate(&examples, &model.config().special);
        let batch = host.upload::<B>(&model.config().embedding, device);
        let mut rng = seed.rng();
        let loss = objective.loss(model, &batch, &mut StepContext::new(&mut rng));
        let value: f64 = loss.value.into_data().iter::<f64>().next().unwrap_or(f64::NAN);
        nats += value * loss.count as f64;
        tokens += loss.count;
        for example in &examples {
            // The first token is never predicted.
            let predicted = example.ids.get(1..).unwrap_or_default();
            bytes += data.tokenizer.decode(predicted, true)?.len();
        }
        progress.advance(examples.len());
    }
    progress.finish();

    let counted = match data.train.size() {
        Size::Known(size) => size.min(COUNTED),
        Size::Endless => COUNTED.min(2000),
    };
    let mut ngrams = Ngrams::new(model.config().vocabulary);
    for index in 0..counted {
        ngrams.count(&data.train.example(index)?.ids);
    }
    let guesses: Vec<(&str, f64)> = [("unigram", 1), ("trigram", 3)]
        .map(|(name, order)| (name, ngrams.nats(kept.iter().map(|one| &one.ids[..]), order)))
        .to_vec();
    let mean = nats / tokens.max(1) as f64;
    let a_byte = tokens as f64 / bytes.max(1) as f64 / std::f64::consts::LN_2;
    let row = |metric: &str, of: &dyn Fn(f64) -> f64| ResultRow {
        task: "language".into(),
        dataset: evaluation.name.clone(),
        split: "validation".into(),
        metric: metric.into(),
        value: of(mean),
        baselines: guesses
            .iter()
            .map(|(name, nats)| ((*name).to_owned(), of(*nats)))
            .collect::<BTreeMap<_, _>>(),
    };
    Ok(vec![
        row("cross-entropy", &|nats| nats),
        row("perplexity", &f64::exp),
        row("bits-per-byte", &|nats| nats * a_byte),
    ])
}

/// Texts that the model goes on with.
fn samples<B: Backend>(
    model: &TextModel<B>,
    tokenizer: &TextTokenizer,
    evaluation: &TextEvaluation,
    settings: &SampleEvaluation,
    seed: Seed,
    device: &B::Device,
) -> Result<Section, TaskError> {
    let mut shown = String::new();
    let prompts =
        if settings.prompts.is_empty() { vec![String::new()] } else { settings.prompts.clone() };
    for (number, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.encode(prompt, false)?.get_ids().to_vec();
        let seed = seed.part("samples").at(number as u64);
        let go_on = |_, _| Verdict::GoOn;
        let found = model.generate(&[ids], &settings.generation, seed, device, go_on)?;
        let written = found.into_iter().next().unwrap_or_default();
        let text = tokenizer.decode(&written, true)?;
        shown.push_str(&format!("[{prompt}]{text}\n\n"));
    }
    Ok(Section {
        title: evaluation.name.clone(),
        caption: "What the model goes on with, after what stands in brackets.".into(),
        body: SectionBody::Text(shown.trim_end().to_owned()),
    })
}
