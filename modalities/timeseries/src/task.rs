//! A stage of training on series, as the trainer sees it.

use crate::{
    SeriesHostBatch, SeriesModel, SeriesModelConfig, job,
    windows::{Window, collate},
};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Backend, Loss, Model, Seed, StepContext, Teacher};
use kiln_hub::{adapter::Published, family};
use kiln_objectives::{Objective, Validation};
use kiln_train::task::{LOSS, Measure, Task, TaskError, TaskSource};
use ndarray::Axis;
use std::path::Path;

/// Windows a batch of validation; larger ones only take more memory.
const VALIDATION_BATCH: usize = 128;

/// A stage of training on series.
pub struct SeriesTask {
    /// Where windows come from.
    pub source: TaskSource<Window>,
    /// Whether their order is drawn.
    pub shuffle: bool,
    /// What is optimised.
    pub objective: Objective,
    /// The model's configuration.
    pub config: SeriesModelConfig,
    /// Windows set aside.
    pub validation: Vec<Window>,
    /// Whether errors of different windows can be averaged in their own units.
    pub comparable: bool,
}

impl SeriesTask {
    /// The mean squared error of forecasts, in the units of the windows; `None` where no future is
    /// known.
    fn validate_forecast<B: Backend>(
        &self,
        model: &SeriesModel<B>,
        device: &B::Device,
    ) -> Result<Option<f64>, TaskError> {
        let (mut sum, mut count) = (0.0, 0usize);
        for windows in self.validation.chunks(VALIDATION_BATCH) {
            let host = collate(windows, self.config.frontend.resolutions);
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
}

impl<B: AutodiffBackend> Task<B> for SeriesTask {
    type Model = SeriesModel<B>;
    type Example = Window;
    type HostBatch = SeriesHostBatch;

    fn source(&self) -> TaskSource<Window> {
        self.source.clone()
    }

    fn shuffle(&self) -> bool {
        self.shuffle
    }

    fn collate(&self, examples: Vec<Window>) -> Result<SeriesHostBatch, TaskError> {
        Ok(collate(&examples, self.config.frontend.resolutions))
    }

    fn tokens(&self, batch: &SeriesHostBatch) -> usize {
        let (windows, _, channels) = batch.past.dim();
        windows * channels * self.config.tokens()
    }

    fn teacher(&self) -> Option<Teacher> {
        self.objective.teacher()
    }

    fn loss(
        &self,
        model: &SeriesModel<B>,
        teacher: Option<&SeriesModel<B>>,
        batch: SeriesHostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError> {
        let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
        Ok(self.objective.loss(model, teacher, &batch.upload::<B>(device), context)?)
    }

    fn validate(
        &self,
        model: &<SeriesModel<B> as AutodiffModule<B>>::InnerModule,
        teacher: Option<&<SeriesModel<B> as AutodiffModule<B>>::InnerModule>,
        seed: Seed,
        step: u64,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let mut validation = Validation::new(&self.objective, seed, step);
        for windows in self.validation.chunks(VALIDATION_BATCH) {
            let batch = collate(windows, self.config.frontend.resolutions).upload(device);
            let teacher = teacher.map(|teacher| teacher as &dyn Model<_, Batch = _>);
            validation.add(model, teacher, &batch)?;
        }
        let forecasts = self.objective.is_supervised() && self.comparable;
        let mse = if forecasts { self.validate_forecast(model, device)? } else { None };
        let measures = [Measure::of("mse", mse), Measure::of(LOSS, validation.loss())];
        Ok(measures.into_iter().flatten().collect())
    }

    fn write_model(
        &self,
        model: &<SeriesModel<B> as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError> {
        family::save::<B::InnerBackend, _>(dir, &self.config, model)?;
        Ok(())
    }

    fn published(&self) -> Result<Option<Published>, TaskError> {
        Ok(family::published(&self.config)?)
    }

    fn depth(&self, parameter: &str) -> Option<(usize, usize)> {
        job::depth(&self.config, parameter)
    }
}
