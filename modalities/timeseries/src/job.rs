//! A time-series recipe at work.

use crate::{
    SeriesModel, SeriesModelConfig, cost,
    data::{self, StageData},
    forecaster::Forecaster,
    hub, language,
    measure::{check, measure},
    model_forecaster::ModelForecaster,
    provide::SeriesPlan,
    recipe::{ModelSpec, SeriesParts},
    task::SeriesTask,
};
use kiln_core::{AutodiffBackend, Seed};
use kiln_nn::BackboneConfig;
use kiln_train::{
    dispatch::{self, Cpu, OnBackend},
    modality::{Job, Prepared, StagePlan},
    recipe::{Common, Recipe, RecipeText, Stage, parse, resolved},
    results::Evaluation,
    start::{self, Counts, Start, resolve},
    task::TaskError,
    task_learner::stage_seed,
};
use std::path::{Path, PathBuf};

/// A recipe that was understood.
pub struct SeriesJob {
    recipe: Recipe<SeriesParts>,
    common: Common,
    config: SeriesModelConfig,
    /// The directory that `model.directory` or `model.language` names.
    start: Option<PathBuf>,
}

impl SeriesJob {
    /// Reads a recipe and resolves its model.
    ///
    /// # Errors
    /// When the recipe has a mistake, or names a model that cannot be found.
    pub fn new(text: &RecipeText) -> kiln_train::Result<Self> {
        let recipe = parse::<SeriesParts>(text)?;
        let mut start = None;
        let (part, config) = match &recipe.model {
            ModelSpec::Preset(preset) => ("preset", preset.config()),
            ModelSpec::Parts(config) => ("parts", Ok(config.as_ref().clone())),
            ModelSpec::Directory(name) => {
                let dir = start.insert(resolve(name)?);
                ("directory", Ok(kiln_hub::family::read_config(dir).map_err(boxed)?))
            }
            ModelSpec::Language(spec) => {
                let dir = start.insert(resolve(&spec.directory)?);
                ("language.parts", Ok(spec.config(dir).map_err(boxed)?))
            }
        };
        let config = config.and_then(|config| config.validate().map(|()| config));
        let wrong = |key: &str, problem: String| {
            kiln_train::Error::from(kiln_train::recipe::RecipeError::at(text, key, problem))
        };
        let mut config = config
            .map_err(|error| wrong(&format!("model.{part}.{}", error.key), error.to_string()))?;
        let published = matches!(recipe.model, ModelSpec::Directory(_));
        if !published && config.token.is_some() && !trains_forecast_head(&recipe) {
            config.forecast = None;
        }
        for (number, stage) in recipe.stage.iter().enumerate() {
            let prepared = stage.objective.prepare(&mut SeriesPlan(&config));
            prepared.map_err(|refused| wrong(&refused.key_of(number), refused.problem))?;
        }
        Ok(Self { common: recipe.common(), recipe, config, start })
    }

    /// The model's configuration.
    pub fn config(&self) -> &SeriesModelConfig {
        &self.config
    }

    fn stage(&self, stage: usize) -> kiln_train::Result<&Stage<SeriesParts>> {
        let missing = || boxed(format!("the recipe has no stage {stage}"));
        Ok(self.recipe.stage.get(stage).ok_or_else(missing)?)
    }

    fn data(&self, stage: &Stage<SeriesParts>) -> kiln_train::Result<StageData> {
        let source = self.recipe.data_of(stage);
        Ok(data::open(source, &self.config, self.recipe.data_seed()).map_err(boxed)?)
    }
}

/// Whether some stage trains the forecast head or brings one along. A head that none does would
/// forecast at random; without it, forecasts are made with the token head.
fn trains_forecast_head(recipe: &Recipe<SeriesParts>) -> bool {
    recipe.stage.iter().any(|stage| stage.objective.is_supervised() || stage.init.is_some())
}

fn boxed(error: impl Into<TaskError>) -> TaskError {
    error.into()
}

impl Job for SeriesJob {
    fn common(&self) -> &Common {
        &self.common
    }

    fn resolved(&self) -> kiln_train::Result<String> {
        Ok(resolved(&self.recipe)?)
    }

    fn plan(&self) -> kiln_train::Result<Vec<StagePlan>> {
        // Only where gradients are recorded do parameters know whether they are trained.
        let model =
            SeriesModel::<Cpu>::new(self.config.clone(), &Default::default()).map_err(boxed)?;
        for evaluation in &self.recipe.evaluation {
            check(evaluation).map_err(boxed)?;
        }
        let mut plans = Vec::with_capacity(self.recipe.stage.len());
        for stage in &self.recipe.stage {
            let depth = |name: &str| depth(&self.config, name);
            let Counts { parameters, trainable, backward } = start::count(&model, stage, depth)?;
            if let Some(init) = &stage.init {
                Start::find(init)?;
            }
            plans.push(StagePlan {
                name: stage.name.clone(),
                parameters,
                trainable,
                flops_per_step: cost::step_flops(&self.config, stage, backward),
                tokens_per_step: cost::step_tokens(&self.config, stage),
                memory: cost::step_memory(&self.config, stage, parameters, trainable),
                examples: self.data(stage)?.examples(),
            });
        }
        Ok(plans)
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> kiln_train::Result<Prepared> {
        let settings = self.stage(stage)?;
        let start = Start::of(settings, from, self.start.as_deref())?;
        let data = self.data(settings)?;
        let seed = stage_seed(&self.common, stage);
        let task = SeriesTask {
            source: data.source,
            shuffle: data.shuffle,
            objective: settings.objective.clone(),
            config: self.config.clone(),
            validation: data.validation,
            comparable: data.comparable,
        };
        let prepare = Prepare { task, config: &self.config, stage: settings.common(), seed, start };
        dispatch::on(self.recipe.device, prepare)?
    }

    fn evaluate(&self, model: &Path) -> kiln_train::Result<Evaluation> {
        let mut all = Evaluation::default();
        if self.recipe.evaluation.is_empty() {
            return Ok(all);
        }
        let forecaster = open_forecaster(model, self.recipe.device)?;
        let seed = self.recipe.data_seed();
        for evaluation in &self.recipe.evaluation {
            let one = measure(forecaster.as_ref(), evaluation, seed).map_err(boxed)?;
            all.rows.extend(one.rows);
            all.sections.extend(one.sections);
        }
        Ok(all)
    }
}

/// Opens a model directory for forecasting.
///
/// # Errors
/// When it cannot be read, or the device is not there.
pub fn open_forecaster(
    dir: &Path,
    device: kiln_train::recipe::Device,
) -> Result<Box<dyn Forecaster>, TaskError> {
    dispatch::on(device, Open(dir))?
}

struct Open<'a>(&'a Path);

impl OnBackend for Open<'_> {
    type Output = Result<Box<dyn Forecaster>, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let (model, _) = hub::load_model::<B::InnerBackend>(self.0, &device)?;
        Ok(Box::new(ModelForecaster::new(model, device)))
    }
}

/// A stage that waits for its backend.
struct Prepare<'a> {
    task: SeriesTask,
    config: &'a SeriesModelConfig,
    stage: Stage<kiln_train::recipe::Bare>,
    seed: Seed,
    start: Option<Start>,
}

impl OnBackend for Prepare<'_> {
    type Output = kiln_train::Result<Prepared>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let new = |device: &B::Device| Ok(SeriesModel::<B>::new(self.config.clone(), device)?);
        let read = |dir: &Path, _: &SeriesModel<B>| Ok(language::start(dir, self.config)?);
        start::prepare(self.task, &self.stage, self.seed, device, self.start.as_ref(), new, read)
    }
}

/// The block of a parameter and how many there are: `backbone.layers.3.…` of a transformer,
/// `backbone.stages.1.…` of a mixer.
pub(crate) fn depth(config: &SeriesModelConfig, parameter: &str) -> Option<(usize, usize)> {
    let rest = parameter.strip_prefix("backbone.")?;
    let rest = rest.strip_prefix("layers.").or_else(|| rest.strip_prefix("stages."))?;
    let block = rest.split('.').next()?.parse().ok()?;
    Some((block, blocks(&config.backbone, config.width)))
}

/// How many blocks a backbone has, for layer-wise rates.
fn blocks(backbone: &BackboneConfig, width: usize) -> usize {
    match backbone {
        BackboneConfig::Transformer(transformer) => transformer.layers,
        BackboneConfig::Mixer(mixer) => mixer.cuts(width).len(),
    }
}
