//! A text recipe at work.

use crate::{
    cost, data,
    data_error::StageDataError,
    evaluate::{evaluate, fits},
    labelled::{Aim, LabelledTask, task_key},
    opened::{has_tokenizer, open_tokenizer},
    recipe::{
        EvaluationKind, LanguageEvaluation, ModelSpec, NewTokens, TaskEvaluation, TextData,
        TextParts, TokenizerSource, Windows, task_key,
    },
    sources::{self, StageDataError},
    stage_model::{TextPlan, offers, stage_config, with_heads},
    task::TextTask,
    transfer::{NewTokens, Transfer},
};
use kiln_core::{AutodiffBackend, Need, Seed};
use kiln_hub::family;
use kiln_lm::{TextModel, TextModelConfig, config::SpecialIds, hub};
use kiln_objectives::Objective;
use kiln_tokenize::TextTokenizer;
use kiln_train::{
    dispatch::{self, Cpu, OnBackend},
    modality::{Job, Prepared, StagePlan},
    recipe::{Bare, Common, Recipe, RecipeError, RecipeText, Stage, parse, resolved},
    results::Evaluation,
    start::{self, Counts, Start, resolve},
    task::TaskError,
    task_learner::stage_seed,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A recipe that was understood.
pub struct TextJob {
    recipe: Recipe<TextParts>,
    common: Common,
    config: TextModelConfig,
    /// The model directory that `model.directory` names.
    directory: Option<PathBuf>,
}

impl TextJob {
    /// Reads a recipe and resolves its model.
    ///
    /// # Errors
    /// When the recipe has a mistake, or names a model that cannot be found.
    pub fn new(text: &RecipeText) -> kiln_train::Result<Self> {
        let recipe = parse::<TextParts>(text)?;
        let (part, config, directory) = match &recipe.model {
            ModelSpec::Preset(preset) => ("preset", preset.config(), None),
            ModelSpec::Parts(config) => ("parts", config.as_ref().clone(), None),
            ModelSpec::Directory(name) => {
                let dir = resolve(name)?;
                ("directory", family::read_config(&dir).map_err(boxed)?, Some(dir))
            }
        };
        let wrong = |key: &str, problem: String| {
            kiln_train::Error::from(RecipeError::at(text, key, problem))
        };
        // Special ids are the tokenizer's.
        TextModelConfig { special: SpecialIds::default(), ..config.clone() }
            .validate()
            .map_err(|error| wrong(&format!("model.{part}.{}", error.key), error.to_string()))?;
        for (number, stage) in recipe.stage.iter().enumerate() {
            let data = recipe.data_of(stage);
            let of_data = |key: &str, problem: &str| {
                let key = recipe.data_key(number, key);
                wrong(&key, format!("`{key}` {problem}"))
            };
            let labelled = data.tasks().next().is_some();
            let prepared = stage.objective.prepare(&mut TextPlan::new(&config, labelled));
            prepared.map_err(|refused| wrong(&refused.key_of(number), refused.problem))?;
            if data.sources.is_empty() && data.tasks().next().is_none() {
                let problem = StageDataError::NoSources.to_string();
                return Err(wrong(&recipe.data_key(number, "sources"), problem));
            }
            if data.new_tokens == NewTokens::Contexts && config.causal {
                let problem = "is for encoders: what a decoder makes of a token stands for the next \
                               one; use \"pieces\"";
                return Err(of_data("new_tokens", problem));
            }
            if data.order.is_some() && (data.windows == Windows::Anywhere || data.sources.len() > 1)
            {
                let problem = "orders the sequences of one source, each of which is seen once: give \
                               one of `data.sources`, and `data.windows = \"cut\"`";
                return Err(of_data("order", problem));
            }
            data.check_tasks().map_err(|(key, problem)| of_data(&key, &problem))?;
            let grades = stage.objective.has(|one| matches!(one, Objective::RewardWeighted(_)));
            if let Some((name, _)) =
                data.tasks().find(|(_, task)| task.control.is_some() && !grades)
            {
                let problem = "says how good texts are, which `reward-weighted` learns from";
                return Err(of_data(&format!("{}.control", task_key(name)), problem));
            }
            let documents = reads_documents(data);
            if documents
                && data.packing.cross
                && stage.objective.has_need(|need| *need == Need::Embeddings)
            {
                let problem = "has to be false for an objective that makes one vector of a \
                               sequence: `info-nce` without pairs, `retromae`; several documents \
                               in a row are not one text";
                return Err(of_data("packing.cross", problem));
            }
            if documents && !data.packing.cross && data.windows == Windows::Anywhere {
                let problem = "may be \"anywhere\" only where sequences go on from one document to \
                               the next (`data.packing.cross`); use \"cut\"";
                return Err(of_data("windows", problem));
            }
            let written = config.decoder.iter().flat_map(|_| written(data));
            for (key, length) in lengths(data).chain(written) {
                if let Some(longest) = config.longest().filter(|most| length > *most) {
                    let problem =
                        format!("is {length}, but the model has positions for {longest} tokens");
                    return Err(of_data(&key, &problem));
                }
            }
        }
        for (number, evaluation) in recipe.evaluation.iter().enumerate() {
            fits(&recipe, evaluation, config.longest())
                .map_err(|error| wrong(&format!("evaluation.{number}.kind"), error.to_string()))?;
            let writes = config.generates() || config.decoder.is_some();
            let sources = recipe.last_data().sources.len();
            let tasks: Vec<_> = recipe.last_data().tasks().map(|(name, _)| name).collect();
            let scores = recipe.stage.last().is_none_or(|stage| {
                // What an encoder-decoder learns with labels is to write.
                stage.objective.has_need(|need| *need == Need::TokenTargets)
                    || config.decoder.is_some()
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
                EvaluationKind::Samples(_) if !writes => WRITES.into(),
                EvaluationKind::Task(_) if tasks.is_empty() => {
                    "measures what `data.labelled` of the last stage asks for; there is none".into()
                }
                EvaluationKind::Task(TaskEvaluation { task: Some(name), .. })
                    if !tasks.contains(&Some(name)) =>
                {
                    let known: Vec<&str> = tasks.into_iter().flatten().collect();
                    let known = known.join(", ");
                    format!(
                        "measures the task `{name}`; `data.tasks` of the last stage has: {known}"
                    )
                }
                _ => continue,
            };
            return Err(wrong(&format!("evaluation.{number}.kind"), problem));
        }
        Ok(Self { common: recipe.common(), recipe, config, directory })
    }

    /// The model of a stage that starts in `dir`, or where the stage before ended, before anything is
    /// read at length: a tokenizer that is to be trained has the vocabulary that was asked for, and a
    /// model keeps its own through its stages.
    fn planned_config(
        &self,
        stage: &Stage<TextParts>,
        tasks: &[LabelledTask<'_>],
        before: Option<&TextModelConfig>,
        dir: Option<&Path>,
    ) -> Result<TextModelConfig, TaskError> {
        let data = self.recipe.data_of(stage);
        sources::find(data)?;
        let mut config = with_heads(&self.config, &stage.objective, tasks)?;
        match (&data.tokenizer, dir, before) {
            (Some(TokenizerSource::Train(_)) | None, None, Some(before)) => {
                config.vocabulary = before.vocabulary;
                config.special = before.special;
                Ok(config)
            }
            (Some(TokenizerSource::Train(spec)), None, None)
            | (Some(TokenizerSource::Retrain(spec)), _, _) => {
                config.vocabulary = spec.model.vocabulary().unwrap_or(config.vocabulary);
                config.special = SpecialIds::default();
                Ok(config)
            }
            _ => {
                let tokenizer = self.tokenizer(data, dir)?;
                stage_config(&self.config, &stage.objective, tasks, &tokenizer)
            }
        }
    }

    /// The labelled tasks of a stage.
    fn tasks<'a>(
        &'a self,
        stage: &'a Stage<TextParts>,
    ) -> Result<Vec<LabelledTask<'a>>, StageDataError> {
        let writes = self.config.decoder.is_some();
        let read = |(name, data)| {
            LabelledTask::read(name, data, self.recipe.data_seed(), |rows| {
                Aim::of(&stage.objective, rows, &data.names, writes)
            })
        };
        self.recipe.data_of(stage).tasks().map(read).collect()
    }

    /// The tokenizer of a stage that starts from a directory or from nothing.
    fn tokenizer(
        &self,
        data: &TextData,
        from: Option<&Path>,
    ) -> Result<Arc<TextTokenizer>, StageDataError> {
        sources::tokenizer(data, from.or(self.directory.as_deref()), self.recipe.data_seed())
    }

    /// What becomes of the vocabulary of the model in `dir`, where the stage's tokenizer has another.
    fn transfer(
        &self,
        data: &TextData,
        dir: &Path,
        tokenizer: &TextTokenizer,
    ) -> Result<Option<Transfer>, TaskError> {
        if !has_tokenizer(dir) {
            return Ok(None);
        }
        let old = open_tokenizer(dir)?;
        let texts = || sources::texts(data, self.recipe.data_seed());
        let longest = family::read_config::<TextModelConfig>(dir)?.longest();
        Ok(Transfer::new(data.new_tokens, [&old, tokenizer], longest, texts)?)
    }
}

/// Tokens of an example of what a stage trains on, with the keys that say so.
fn lengths(data: &TextData) -> impl Iterator<Item = (String, usize)> {
    let tasks =
        data.tasks().map(|(name, task)| (format!("{}.length", task_key(name)), task.length));
    tasks.chain(reads_documents(data).then(|| ("packing.length".to_owned(), data.packing.length)))
}

/// Tokens of what an encoder-decoder is taught to write, with the keys that say so.
fn written(data: &TextData) -> impl Iterator<Item = (String, usize)> {
    let written = data.tasks().filter(|(_, task)| task.train.may_be_written());
    written.map(|(name, task)| (format!("{}.written", task_key(name)), task.written))
}

/// Whether documents are learnt from, alone or beside tasks.
fn reads_documents(data: &TextData) -> bool {
    data.tasks().next().is_none() || data.unlabelled > 0.0
}

/// What evaluations of writers want.
const WRITES: &str = "wants a model that writes on, token by token; this one sees all of a text at \
                      once (`model.*.causal`)";

fn boxed(error: impl Into<TaskError>) -> TaskError {
    error.into()
}

impl Job for TextJob {
    fn common(&self) -> &Common {
        &self.common
    }

    fn resolved(&self) -> kiln_train::Result<String> {
        Ok(resolved(&self.recipe)?)
    }

    fn plan(&self) -> kiln_train::Result<Vec<StagePlan>> {
        let mut plans = Vec::with_capacity(self.recipe.stage.len());
        let mut before: Option<TextModelConfig> = None;
        for stage in &self.recipe.stage {
            let data = self.recipe.data_of(stage);
            let tasks = self.tasks(stage).map_err(boxed)?;
            let start = stage.init.as_ref().map(Start::find).transpose()?;
            let dir = match &start {
                Some(start) => Some(start.dir.as_path()),
                None => self.directory.as_deref().filter(|_| before.is_none()),
            };
            let dir = dir.filter(|dir| has_tokenizer(dir));
            let config = self.planned_config(stage, &tasks, before.as_ref(), dir)?;
            // Only where gradients are recorded do parameters know whether they are trained.
            let model =
                TextModel::<Cpu>::new(config.clone(), &Default::default()).map_err(boxed)?;
            let depth = |name: &str| config.depth(name);
            let Counts { parameters, trainable, backward } = start::count(&model, stage, depth)?;
            let length = lengths(data).map(|(_, length)| length).max().unwrap_or_default();
            let examples = tasks.iter().map(|task| task.rows.train.len() as u64).sum();
            plans.push(StagePlan {
                name: stage.name.clone(),
                parameters,
                trainable,
                flops_per_step: cost::step_flops(&config, length, stage, backward),
                tokens_per_step: cost::step_tokens(&config, length, stage),
                memory: cost::step_memory(&config, length, stage, parameters, trainable),
                examples: (!tasks.is_empty()).then_some(examples),
            });
            before = Some(config);
        }
        Ok(plans)
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> kiln_train::Result<Prepared> {
        let missing = || boxed(format!("the recipe has no stage {stage}"));
        let settings = self.recipe.stage.get(stage).ok_or_else(missing)?;
        let start = Start::of(settings, from, self.directory.as_deref())?;
        let data = self.recipe.data_of(settings);
        let tokenizer = self.tokenizer(data, start.as_ref().map(|start| start.dir.as_path()));
        let tokenizer = tokenizer.map_err(boxed)?;
        let tasks = self.tasks(settings).map_err(boxed)?;
        let config = stage_config(&self.config, &settings.objective, &tasks, &tokenizer)?;
        let transfer = match &start {
            Some(start) => self.transfer(data, &start.dir, &tokenizer)?,
            None => None,
        };
        let batches = [settings.accumulate, settings.batch as u64];
        let data = data::open_stage(data, &tasks, tokenizer, batches, self.recipe.data_seed());
        let data = data.map_err(boxed)?;
        let seed = stage_seed(&self.common, stage);
        let in_words = tasks.iter().find(|task| task.ranks_in_words());
        let ranking = in_words.map(|task| task.data.ranking.clone());
        let task = TextTask {
            train: data.train,
            shuffle: data.shuffle,
            validation: data.validation,
            objective: settings.objective.clone(),
            config: config.clone(),
            tokenizer: data.tokenizer,
            ranking,
            batch: settings.batch,
        };
        let prepare = Prepare { task, config, stage: settings.common(), seed, start, transfer };
        dispatch::on(self.recipe.device, prepare)?
    }

    fn evaluate(&self, model: &Path) -> kiln_train::Result<Evaluation> {
        Ok(evaluate(&self.recipe, model, self.recipe.data_seed())?)
    }
}

/// A stage that waits for its backend.
struct Prepare {
    task: TextTask,
    config: TextModelConfig,
    stage: Stage<Bare>,
    seed: Seed,
    start: Option<Start>,
    /// Where the model it starts from has another vocabulary.
    transfer: Option<Transfer>,
}

impl OnBackend for Prepare {
    type Output = kiln_train::Result<Prepared>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let new = |device: &B::Device| Ok(TextModel::<B>::new(self.config, device)?);
        let on = device.clone();
        let read = |dir: &Path, model: &TextModel<B>| {
            let (_, mut weights) = family::read::<TextModelConfig>(dir)?;
            // Parts of other models have the stage's own vocabulary.
            let whole = self.start.as_ref().is_some_and(|start| start.dir == dir);
            if let Some(transfer) = self.transfer.as_ref().filter(|_| whole) {
                let fresh = kiln_hub::collect::<B, _>(model)?;
                transfer.apply::<B::InnerBackend>(&mut weights, &fresh, dir, &on)?;
            }
            Ok(weights)
        };
        start::prepare(self.task, &self.stage, self.seed, device, self.start.as_ref(), new, read)
    }
}
