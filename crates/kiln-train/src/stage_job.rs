//! Job of a recipe, for any [`Architecture`].

use crate::{
    architecture::{Architecture, OpenStage, StageSpec},
    cost,
    dispatch::{self, Cpu, OnBackend},
    job::{Job, StagePlan},
    recipe::{
        Common, Problem, Recipe, RecipeError, RecipeText, SharedOnly, Stage, parse, resolved,
    },
    results::Evaluation,
    stage_task::StageTask,
    start::{self, Counts, Prepared, Start},
    task::TaskError,
    task_learner::stage_seed,
};
use kiln_core::{AutodiffBackend, Model as _, Seed};
use kiln_objectives::Objective;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The [`Job`] of a recipe that was read and checked.
pub struct StageJob<A: Architecture> {
    recipe: Recipe<A::Spec>,
    common: Common,
    config: A::Config,
    /// The directory that the recipe's model names.
    directory: Option<PathBuf>,
}

impl<A: Architecture> StageJob<A> {
    /// Reads a recipe, resolves its model and checks each stage's objective against it.
    ///
    /// # Errors
    /// When the recipe has a mistake, or names a model that cannot be found.
    pub fn new(text: &RecipeText) -> crate::Result<Self> {
        let recipe = parse::<A::Spec>(text)?;
        let wrong = |Problem { key, message }: Problem| RecipeError::at(text, &key, message);
        let model = A::model(&recipe)?;
        let config = model.config.map_err(|error| {
            wrong(Problem::new(format!("model.{}.{}", model.key, error.key), error.to_string()))
        })?;
        let job = Self { common: recipe.common(), recipe, config, directory: model.directory };
        for stage in job.stages() {
            A::check_objective(&stage).map_err(|refused| {
                wrong(Problem::new(refused.key_of(stage.number), refused.problem))
            })?;
            A::check_stage(&stage).map_err(wrong)?;
        }
        for number in 0..job.recipe.evaluation.len() {
            A::check_evaluation(&job.recipe, number, &job.config).map_err(wrong)?;
        }
        Ok(job)
    }

    fn stages(&self) -> impl Iterator<Item = StageSpec<'_, A>> {
        self.recipe.stage.iter().enumerate().map(|(number, settings)| StageSpec {
            recipe: &self.recipe,
            config: &self.config,
            directory: self.directory.as_deref(),
            number,
            settings,
        })
    }
}

impl<A: Architecture> Job for StageJob<A> {
    fn common(&self) -> &Common {
        &self.common
    }

    fn resolved(&self) -> crate::Result<String> {
        Ok(resolved(&self.recipe)?)
    }

    fn plan(&self) -> crate::Result<Vec<StagePlan>> {
        A::check_files(&self.recipe)?;
        let mut plans = Vec::with_capacity(self.recipe.stage.len());
        let mut before = None;
        for stage in self.stages() {
            let settings = stage.settings;
            let init = settings.init.as_ref().map(Start::find).transpose()?;
            let init = init.as_ref().map(|init| init.dir.as_path());
            let cost = A::plan(&stage, before.as_ref(), init)?;
            // Only where gradients are recorded do parameters know whether they are trained.
            let model = init_checked::<A, Cpu>(
                cost.config.clone(),
                &settings.objective,
                &Default::default(),
            )?;
            let layer = |name: &str| A::layer_index(&cost.config, name);
            let Counts { parameters, trainable, backward } =
                start::count::<Cpu, _, _>(&model, settings, layer)?;
            let accumulate = settings.accumulate as f64;
            plans.push(StagePlan {
                name: settings.name.clone(),
                parameters,
                trainable,
                flops_per_step: (1.0 + backward) * accumulate * cost.forward_flops,
                tokens_per_step: accumulate * cost.tokens,
                memory: cost::step_memory(settings, parameters, trainable, cost.activations),
                examples: cost.examples,
            });
            before = Some(cost.config);
        }
        Ok(plans)
    }

    fn learner(&self, number: usize, from: Option<&Path>) -> crate::Result<Prepared> {
        let missing = || TaskError::from(format!("the recipe has no stage {number}"));
        let stage = self.stages().nth(number).ok_or_else(missing)?;
        let start = Start::of(stage.settings, from, self.directory.as_deref())?;
        let prepare = Prepare::<A> {
            open: Arc::new(A::open(&stage, start.as_ref())?),
            stage: stage.settings.common(),
            seed: stage_seed(&self.common, number),
            start,
        };
        dispatch::on(self.recipe.device, prepare)?
    }

    fn evaluate(&self, model: &Path) -> crate::Result<Evaluation> {
        if self.recipe.evaluation.is_empty() {
            return Ok(Evaluation::default());
        }
        Ok(A::evaluate(&self.recipe, model, self.recipe.data_seed())?)
    }
}

/// A model with random weights, which has what its objective needs.
fn init_checked<A: Architecture, B: AutodiffBackend>(
    config: A::Config,
    objective: &Objective,
    device: &B::Device,
) -> Result<A::Trained<B>, TaskError> {
    let model = A::init::<B>(config, device)?;
    objective.check_capabilities(&model.capabilities())?;
    Ok(model)
}

/// A stage that waits for its backend.
struct Prepare<A: Architecture> {
    open: Arc<OpenStage<A>>,
    stage: Stage<SharedOnly>,
    seed: Seed,
    start: Option<Start>,
}

impl<A: Architecture> OnBackend for Prepare<A> {
    type Output = crate::Result<Prepared>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { open, stage, seed, start } = self;
        let on = device.clone();
        let new =
            |device: &B::Device| init_checked::<A, B>(open.config.clone(), &open.objective, device);
        let read = |dir: &Path, model: &A::Trained<B>| {
            let whole = start.as_ref().is_some_and(|start| start.dir == dir);
            A::read_weights::<B>(&open, dir, whole, model, &on)
        };
        let task = StageTask::new(open.clone());
        start::prepare::<B, _>(task, &stage, seed, device, start.as_ref(), new, read)
    }
}

#[cfg(test)]
mod tests;
