//! Checks of text recipes beyond types and objectives.

use crate::{
    data_error::StageDataError,
    evaluate::fits,
    recipe::{
        EvaluationKind, LanguageEvaluation, NewTokens, TaskEvaluation, TextData, TextSpec, Windows,
        task_key,
    },
};
use kiln_core::Need;
use kiln_lm::TextModelConfig;
use kiln_objectives::Objective;
use kiln_train::{
    architecture::{Architecture, StageSpec},
    recipe::{Problem, Recipe},
};

/// Checks the data of a stage against its model and its objective.
pub(crate) fn stage<A: Architecture<Spec = TextSpec, Config = TextModelConfig>>(
    stage: &StageSpec<'_, A>,
) -> Result<(), Problem> {
    let data = stage.data();
    if data.sources.is_empty() && data.tasks().next().is_none() {
        let problem = StageDataError::NoSources.to_string();
        return Err(Problem::new(stage.recipe.data_key(stage.number, "sources"), problem));
    }
    if data.new_tokens == NewTokens::Contexts && stage.config.causal {
        let problem = "is for encoders: what a decoder makes of a token stands for the next \
                       one; use \"pieces\"";
        return Err(stage.data_problem("new_tokens", problem));
    }
    if data.order.is_some() && (data.windows == Windows::Anywhere || data.sources.len() > 1) {
        let problem = "orders the sequences of one source, each of which is seen once: give \
                       one of `data.sources`, and `data.windows = \"cut\"`";
        return Err(stage.data_problem("order", problem));
    }
    data.check_tasks().map_err(|(key, problem)| stage.data_problem(&key, &problem))?;
    let grades = stage.settings.objective.has(|one| matches!(one, Objective::RewardWeighted(_)));
    if let Some((name, _)) = data.tasks().find(|(_, task)| task.control.is_some() && !grades) {
        let problem = "says how good texts are, which `reward-weighted` learns from";
        return Err(stage.data_problem(&format!("{}.control", task_key(name)), problem));
    }
    let documents = reads_documents(data);
    if documents
        && data.packing.cross
        && stage.settings.objective.has_need(|need| *need == Need::Embeddings)
    {
        let problem = "has to be false for an objective that makes one vector of a \
                       sequence: `info-nce` without pairs, `retromae`; several documents \
                       in a row are not one text";
        return Err(stage.data_problem("packing.cross", problem));
    }
    if documents && !data.packing.cross && data.windows == Windows::Anywhere {
        let problem = "may be \"anywhere\" only where sequences go on from one document to \
                       the next (`data.packing.cross`); use \"cut\"";
        return Err(stage.data_problem("windows", problem));
    }
    let targets = stage.config.decoder.iter().flat_map(|_| target_lengths(data));
    for (key, length) in lengths(data).chain(targets) {
        if let Some(longest) = stage.config.longest().filter(|most| length > *most) {
            let problem = format!("is {length}, but the model has positions for {longest} tokens");
            return Err(stage.data_problem(&key, &problem));
        }
    }
    let decoder = stage.config.decoder.is_none();
    if let Some(longest) = stage.config.longest().filter(|_| decoder && documents) {
        for objective in stage.settings.objective.each() {
            let Objective::Denoising(denoising) = objective else { continue };
            let (length, all) = (data.packing.length, denoising.longest(data.packing.length) + 1);
            if all > longest {
                let problem = format!(
                    "is {length}: with sentinels, source and target have up to {all} tokens together, \
                     but the model has positions for {longest}"
                );
                return Err(stage.data_problem("packing.length", &problem));
            }
        }
    }
    Ok(())
}

/// Checks the evaluation of a number against the recipe's model.
pub(crate) fn evaluation(
    recipe: &Recipe<TextSpec>,
    number: usize,
    config: &TextModelConfig,
) -> Result<(), Problem> {
    let Some(evaluation) = recipe.evaluation.get(number) else { return Ok(()) };
    let wrong = |problem: String| Problem::new(format!("evaluation.{number}.kind"), problem);
    fits(recipe, evaluation, config.longest()).map_err(|error| wrong(error.to_string()))?;
    let generates = config.generates() || config.decoder.is_some();
    let sources = recipe.last_data().sources.len();
    let tasks: Vec<_> = recipe.last_data().tasks().map(|(name, _)| name).collect();
    let scores = recipe.stage.last().is_none_or(|stage| {
        // Labelled tasks of an encoder-decoder are sequence-to-sequence.
        stage.objective.has_need(|need| *need == Need::TokenTargets) || config.decoder.is_some()
    });
    let problem = match &evaluation.kind {
        EvaluationKind::Language(_) if !scores => {
            "asks the head that scores the vocabulary, which the last stage's objective \
             does not train"
                .into()
        }
        EvaluationKind::Language(LanguageEvaluation { source: Some(source), .. })
            if *source >= sources =>
        {
            "measures a source that `data.sources` of the last stage does not have".into()
        }
        EvaluationKind::Samples(_) if !generates => GENERATES.into(),
        EvaluationKind::Task(_) if tasks.is_empty() => {
            "measures what `data.labelled` of the last stage asks for; there is none".into()
        }
        EvaluationKind::Task(TaskEvaluation { task: Some(name), .. })
            if !tasks.contains(&Some(name)) =>
        {
            let known: Vec<&str> = tasks.into_iter().flatten().collect();
            let known = known.join(", ");
            format!("measures the task `{name}`; `data.tasks` of the last stage has: {known}")
        }
        _ => return Ok(()),
    };
    Err(wrong(problem))
}

/// Lengths of the examples of a stage in tokens, with their keys.
pub(crate) fn lengths(data: &TextData) -> impl Iterator<Item = (String, usize)> {
    let tasks =
        data.tasks().map(|(name, task)| (format!("{}.length", task_key(name)), task.length));
    tasks.chain(reads_documents(data).then(|| ("packing.length".to_owned(), data.packing.length)))
}

/// Target lengths of sequence-to-sequence examples, with their keys.
fn target_lengths(data: &TextData) -> impl Iterator<Item = (String, usize)> {
    let tasks = data.tasks().filter(|(_, task)| task.train.has_targets());
    tasks.map(|(name, task)| (format!("{}.target_length", task_key(name)), task.target_length))
}

/// Whether documents are learned from, alone or beside tasks.
fn reads_documents(data: &TextData) -> bool {
    data.tasks().next().is_none() || data.unlabelled > 0.0
}

/// What evaluations of generation need.
const GENERATES: &str = "wants a model that writes on, token by token; this one sees all of a text at \
                      once (`model.*.causal`)";
