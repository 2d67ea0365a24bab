//! Series models as the trainer takes them.

use crate::{
    SeriesBatch, SeriesHostBatch, SeriesModel, SeriesModelConfig, cost,
    data::{self, StageDataError},
    forecaster::Forecaster,
    hub, language,
    measure::{check, measure},
    model_forecaster::ModelForecaster,
    provide::SeriesPlan,
    recipe::{ModelSpec, SeriesSpec},
    windows::{Window, collate},
};
use kiln_core::{AutodiffBackend, Backend, HostBatch, Rng, Seed};
use kiln_hub::{Weights, adapter::Published, family};
use kiln_nn::BackboneConfig;
use kiln_objectives::RefusedObjective;
use kiln_train::{
    architecture::{Architecture, ModelSource, OpenStage, StageCost, StageSpec, ValidationSet},
    dispatch::{self, OnBackend},
    recipe::Recipe,
    results::Evaluation,
    stage_job::StageJob,
    start::{Start, resolve},
    task::{Measure, TaskError},
};
use ndarray::Axis;
use std::path::Path;

/// Windows a batch of validation; larger ones only take more memory.
const VALIDATION_BATCH: usize = 128;

/// A recipe of series that was read and checked.
pub type SeriesJob = StageJob<Series>;

/// The architecture of series models.
#[derive(Debug)]
pub struct Series;

/// What is known of an open stage.
#[derive(Debug)]
pub struct SeriesStage {
    /// Whether errors of different windows can be averaged in their own units.
    pub comparable: bool,
}

impl Architecture for Series {
    type Spec = SeriesSpec;
    type Config = SeriesModelConfig;
    type Example = Window;
    type HostBatch = SeriesHostBatch;
    type Data = SeriesStage;
    type Batch<B: Backend> = SeriesBatch<B>;
    type Model<B: Backend> = SeriesModel<B>;
    type Trained<B: AutodiffBackend> = SeriesModel<B>;

    fn model(recipe: &Recipe<SeriesSpec>) -> Result<ModelSource<SeriesModelConfig>, TaskError> {
        let mut directory = None;
        let (key, config) = match &recipe.model {
            ModelSpec::Preset(preset) => ("preset", preset.config()),
            ModelSpec::Parts(config) => ("parts", Ok(config.as_ref().clone())),
            ModelSpec::Directory(name) => {
                ("directory", Ok(family::read_config(directory.insert(resolve(name)?))?))
            }
            ModelSpec::Language(spec) => {
                let dir = directory.insert(resolve(&spec.directory)?);
                ("language.parts", Ok(spec.config(dir)?))
            }
        };
        let published = matches!(recipe.model, ModelSpec::Directory(_));
        let config = config.and_then(|config| config.validate().map(|()| config));
        let config = config.map(|mut config| {
            if !published && config.token.is_some() && !trains_forecast_head(recipe) {
                config.forecast = None;
            }
            config
        });
        Ok(ModelSource { key, config, directory })
    }

    fn check_objective(stage: &StageSpec<'_, Self>) -> Result<(), RefusedObjective> {
        stage.settings.objective.prepare(&mut SeriesPlan(stage.config))
    }

    fn check_files(recipe: &Recipe<SeriesSpec>) -> Result<(), TaskError> {
        Ok(recipe.evaluation.iter().try_for_each(check)?)
    }

    fn plan(
        stage: &StageSpec<'_, Self>,
        _before: Option<&SeriesModelConfig>,
        _init: Option<&Path>,
    ) -> Result<StageCost<SeriesModelConfig>, TaskError> {
        let examples = open(stage)?.examples();
        Ok(cost::of_stage(stage.config.clone(), stage.settings.batch, examples))
    }

    fn open(
        stage: &StageSpec<'_, Self>,
        _start: Option<&Start>,
    ) -> Result<OpenStage<Self>, TaskError> {
        let data = open(stage)?;
        Ok(OpenStage {
            config: stage.config.clone(),
            objective: stage.settings.objective.clone(),
            train: data.source,
            shuffle: data.shuffle,
            validation: ValidationSet::only(data.validation),
            validation_batch: VALIDATION_BATCH,
            data: SeriesStage { comparable: data.comparable },
        })
    }

    fn init<B: AutodiffBackend>(
        config: SeriesModelConfig,
        device: &B::Device,
    ) -> Result<SeriesModel<B>, TaskError> {
        Ok(SeriesModel::new(config, device)?)
    }

    fn read_weights<B: AutodiffBackend>(
        stage: &OpenStage<Self>,
        dir: &Path,
        _whole: bool,
        _model: &SeriesModel<B>,
        _device: &B::Device,
    ) -> Result<Weights, TaskError> {
        Ok(language::start(dir, &stage.config)?)
    }

    fn collate(
        stage: &OpenStage<Self>,
        windows: &[Window],
        _: &mut Rng,
    ) -> Result<Option<SeriesHostBatch>, TaskError> {
        Ok(Some(collate(windows, stage.config.frontend.resolutions)))
    }

    fn host<'a>(stage: &'a OpenStage<Self>, batch: &'a SeriesHostBatch) -> Box<dyn HostBatch + 'a> {
        let (windows, _, channels) = batch.past.dim();
        Box::new(stage.config.layout(windows, channels))
    }

    fn tokens(stage: &OpenStage<Self>, batch: &SeriesHostBatch) -> usize {
        let (windows, _, channels) = batch.past.dim();
        windows * channels * stage.config.tokens()
    }

    fn upload<B: Backend>(
        _stage: &OpenStage<Self>,
        batch: SeriesHostBatch,
        device: &B::Device,
    ) -> SeriesBatch<B> {
        batch.upload(device)
    }

    fn measures<B: Backend>(
        stage: &OpenStage<Self>,
        model: &SeriesModel<B>,
        loss: Vec<Measure>,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let forecasts = stage.objective.is_supervised() && stage.data.comparable;
        let mse = if forecasts { forecast_error(stage, model, device)? } else { None };
        Ok(Measure::of("mse", mse).into_iter().chain(loss).collect())
    }

    fn write<B: Backend>(
        stage: &OpenStage<Self>,
        model: &SeriesModel<B>,
        dir: &Path,
    ) -> Result<(), TaskError> {
        Ok(family::save::<B, _>(dir, &stage.config, model)?)
    }

    fn published(config: &SeriesModelConfig) -> Result<Option<Published>, TaskError> {
        Ok(family::published(config)?)
    }

    fn layer_index(config: &SeriesModelConfig, parameter: &str) -> Option<(usize, usize)> {
        layer_index(config, parameter)
    }

    fn evaluate(
        recipe: &Recipe<SeriesSpec>,
        model: &Path,
        seed: Seed,
    ) -> Result<Evaluation, TaskError> {
        let forecaster = open_forecaster(model, recipe.device)?;
        let mut all = Evaluation::default();
        for evaluation in &recipe.evaluation {
            let one = measure(forecaster.as_ref(), evaluation, seed)?;
            all.rows.extend(one.rows);
            all.sections.extend(one.sections);
        }
        Ok(all)
    }
}

fn open(stage: &StageSpec<'_, Series>) -> Result<data::StageData, StageDataError> {
    data::open(stage.data(), stage.config, stage.seed())
}

/// The mean squared error of forecasts, in the units of the windows; `None` where no future is known.
fn forecast_error<B: Backend>(
    stage: &OpenStage<Series>,
    model: &SeriesModel<B>,
    device: &B::Device,
) -> Result<Option<f64>, TaskError> {
    let (mut sum, mut count) = (0.0, 0usize);
    let windows = stage.validation.iter().flat_map(|set| set.examples.chunks(VALIDATION_BATCH));
    for windows in windows {
        let host = collate(windows, stage.config.frontend.resolutions);
        let batch = host.upload::<B>(device);
        let forecast = model.predict(&batch)?;
        let [_, rows, _] = forecast.point.dims();
        let targets = model.targets_of(&batch);
        let point = forecast.point.into_data();
        let Some(truth) = &host.future else { continue };
        let truth = truth.slice(ndarray::s![.., ..rows, ..]).select(Axis(2), &targets);
        for (truth, point) in truth.iter().zip(point.iter::<f32>()) {
            if truth.is_finite() {
                sum += f64::from(truth - point).powi(2);
                count += 1;
            }
        }
    }
    Ok((count > 0).then(|| sum / count as f64))
}

/// Whether some stage trains the forecast head or brings one along. A head that none does would
/// forecast at random; without it, forecasts are made with the token head.
fn trains_forecast_head(recipe: &Recipe<SeriesSpec>) -> bool {
    recipe.stage.iter().any(|stage| stage.objective.is_supervised() || stage.init.is_some())
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

/// The layer of a parameter and how many there are: `backbone.layers.3.…` of a transformer,
/// `backbone.stages.1.…` of a mixer.
fn layer_index(config: &SeriesModelConfig, parameter: &str) -> Option<(usize, usize)> {
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
