//! A text recipe at work.

use crate::{
    TextModel, TextModelConfig,
    config::{LanguageHeadConfig, SpecialIds},
    cost, data,
    evaluate::evaluate,
    hub,
    recipe::{EvaluationKind, ModelSpec, TextData, TextParts, TokenizerSource},
    task::TextTask,
    tokenizer::{Role, TextTokenizer},
};
use kiln_core::{AutodiffBackend, Seed};
use kiln_objectives::Objective;
use kiln_train::{
    dispatch::{self, OnBackend},
    modality::{Job, Prepared, StagePlan},
    recipe::{Bare, Common, Recipe, RecipeError, RecipeText, Stage, parse, resolved},
    results::Evaluation,
    start::{self, Start, resolve},
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
                ("directory", hub::read_config(&dir).map_err(boxed)?, Some(dir))
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
            stage.objective.validate().map_err(|error| {
                wrong(&format!("stage.{number}.objective.{}", error.key), error.problem.clone())
            })?;
            let data = stage.data.as_ref().unwrap_or(&recipe.data);
            if let Some(problem) = mismatch(&config, &stage.objective) {
                return Err(wrong(&format!("stage.{number}.objective"), problem));
            }
            if data.sources.is_empty() {
                let problem = data::StageDataError::NoSources.to_string();
                return Err(wrong("data.sources", problem));
            }
            if let Some(longest) = config.longest().filter(|most| data.packing.length > *most) {
                let problem = format!(
                    "is {}, but the model has positions for {longest} tokens",
                    data.packing.length
                );
                return Err(wrong("data.packing.length", problem));
            }
        }
        for (number, evaluation) in recipe.evaluation.iter().enumerate() {
            let writes = config.causal || config.decoder.is_some();
            let fine = match evaluation.kind {
                EvaluationKind::Language(_) => config.causal,
                EvaluationKind::Samples(_) => writes,
            };
            if !fine {
                let problem = "wants a model that writes on, token by token; this one sees all of a \
                               text at once (`model.*.causal`)";
                return Err(wrong(&format!("evaluation.{number}.kind"), problem.into()));
            }
        }
        Ok(Self { common: recipe.common(), recipe, config, directory })
    }

    fn data_of<'a>(&'a self, stage: &'a Stage<TextParts>) -> &'a TextData {
        stage.data.as_ref().unwrap_or(&self.recipe.data)
    }

    fn data_seed(&self) -> Seed {
        Seed::new(self.recipe.seed).part("data")
    }

    /// The model of a stage, before anything is read at length: a tokenizer that is to be trained has
    /// the vocabulary that was asked for.
    fn planned_config(&self, stage: &Stage<TextParts>) -> Result<TextModelConfig, TaskError> {
        let data = self.data_of(stage);
        data::find(data)?;
        match (&data.tokenizer, &self.directory) {
            (Some(TokenizerSource::Train(spec)), None) => {
                let mut config = with_head(&self.config, &stage.objective);
                config.vocabulary = spec.model.vocabulary().unwrap_or(config.vocabulary);
                config.special = SpecialIds::default();
                Ok(config)
            }
            _ => stage_config(&self.config, &stage.objective, &*self.tokenizer(data, None)?),
        }
    }

    /// The tokenizer of a stage that starts from a directory or from nothing.
    fn tokenizer(
        &self,
        data: &TextData,
        from: Option<&Path>,
    ) -> Result<Arc<TextTokenizer>, data::StageDataError> {
        data::tokenizer(data, from.or(self.directory.as_deref()), self.data_seed())
    }
}

/// With the head that an objective trains.
fn with_head(config: &TextModelConfig, objective: &Objective) -> TextModelConfig {
    let mut config = config.clone();
    if !matches!(objective, Objective::Supervised(_)) || config.decoder.is_some() {
        config.task = None;
        config.language.get_or_insert_with(LanguageHeadConfig::default);
    }
    config
}

/// The model of a stage: its vocabulary is the tokenizer's, and it has the head that its objective
/// trains.
fn stage_config(
    config: &TextModelConfig,
    objective: &Objective,
    tokenizer: &TextTokenizer,
) -> Result<TextModelConfig, TaskError> {
    let mut config = with_head(config, objective);
    let id = |role: Role| tokenizer.special().get(role).map(|token| token.id);
    config.special = SpecialIds {
        pad: id(Role::Pad),
        bos: tokenizer.begin(),
        eos: tokenizer.end(),
        mask: id(Role::Mask),
        decoder_start: config.special.decoder_start.or(id(Role::Pad)).or(tokenizer.begin()),
    };
    // A published model may have more rows than its tokenizer has tokens, but not fewer.
    if config.format.is_none() || config.vocabulary < tokenizer.vocabulary() {
        config.vocabulary = tokenizer.vocabulary();
    }
    if let Objective::Masked(_) = objective {
        tokenizer.need(Role::Mask, "masked training, to stand for what is hidden")?;
    }
    config.validate()?;
    Ok(config)
}

/// Why a model cannot be trained for an objective, if so.
fn mismatch(config: &TextModelConfig, objective: &Objective) -> Option<String> {
    let kind = match (config.causal, &config.decoder) {
        (true, _) => "decoder",
        (false, Some(_)) => "encoder-decoder",
        (false, None) => "encoder",
    };
    let needs =
        |what: &str| Some(format!("`{}` trains {what}; this model is an {kind}", objective.name()));
    match objective {
        Objective::Autoregressive(_) if kind == "encoder-decoder" => needs("decoders"),
        Objective::Autoregressive(_) => None,
        Objective::Masked(_) if config.causal => Some(
            "`masked` needs a model that sees both sides of what is hidden; this one is causal: \
             use `autoregressive`, or set `model.*.causal` to false"
                .into(),
        ),
        Objective::Masked(_) => None,
        other => Some(format!(
            "`{}` does not fit text models yet; there are `autoregressive` and `masked`",
            other.name()
        )),
    }
}

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
        // Only where gradients are recorded do parameters know whether they are trained.
        type Trained = burn::backend::Autodiff<burn_flex::Flex>;
        let mut plans = Vec::with_capacity(self.recipe.stage.len());
        for stage in &self.recipe.stage {
            let data = self.data_of(stage);
            let config = self.planned_config(stage)?;
            let model =
                TextModel::<Trained>::new(config.clone(), &Default::default()).map_err(boxed)?;
            let [parameters, trainable] = start::count(&model, stage)?;
            if let Some(init) = &stage.init {
                resolve(&init.model)?;
            }
            let length = data.packing.length;
            plans.push(StagePlan {
                name: stage.name.clone(),
                parameters,
                trainable,
                flops_per_step: cost::step_flops(&config, length, stage),
                memory: cost::step_memory(&config, length, stage, parameters, trainable),
                examples: None,
            });
        }
        Ok(plans)
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> kiln_train::Result<Prepared> {
        let missing = || boxed(format!("the recipe has no stage {stage}"));
        let settings = self.recipe.stage.get(stage).ok_or_else(missing)?;
        let start = Start::of(settings, from, self.directory.as_deref())?;
        let data = self.data_of(settings);
        let tokenizer = self.tokenizer(data, start.as_ref().map(|start| start.dir.as_path()));
        let tokenizer = tokenizer.map_err(boxed)?;
        let config = stage_config(&self.config, &settings.objective, &tokenizer)?;
        let batch = settings.batch as u64 * settings.accumulate;
        let data = data::open(data, tokenizer, batch, self.data_seed()).map_err(boxed)?;
        let seed = stage_seed(&self.common, stage);
        let task = TextTask {
            train: data.train,
            shuffle: data.shuffle,
            validation: data.validation,
            objective: settings.objective.clone(),
            config: config.clone(),
            tokenizer: data.tokenizer,
            batch: settings.batch,
            seed,
        };
        let prepare = Prepare { task, config, stage: settings.common(), seed, start };
        dispatch::on(self.recipe.device, prepare)?
    }

    fn evaluate(&self, model: &Path) -> kiln_train::Result<Evaluation> {
        Ok(evaluate(&self.recipe, model, self.data_seed())?)
    }
}

/// A stage that waits for its backend.
struct Prepare {
    task: TextTask,
    config: TextModelConfig,
    stage: Stage<Bare>,
    seed: Seed,
    start: Option<Start>,
}

impl OnBackend for Prepare {
    type Output = kiln_train::Result<Prepared>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let new = |device: &B::Device| Ok(TextModel::<B>::new(self.config, device)?);
        let read = |dir: &Path, _: &TextModel<B>| Ok(hub::read(dir)?.1);
        start::prepare(self.task, &self.stage, self.seed, device, self.start.as_ref(), new, read)
    }
}
