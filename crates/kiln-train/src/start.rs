//! What a stage starts from, and what it would train.

use crate::{
    Error,
    adapters::{self, Adapters, Built, Foundation},
    cost, groups,
    modality::{InitReport, Prepared},
    named::{self, NamedShape},
    recipe::{Bare, Parts, Stage},
    task::{Task, TaskError},
    task_learner::TaskLearner,
};
use burn::module::{AutodiffModule, Module};
use kiln_core::{AutodiffBackend, Backend, Seed};
use kiln_hub::{HubError, LoadReport, Mode, Weights, adapter};
use kiln_nn::adapt::Adapt;
use std::path::{Path, PathBuf};

/// Weights to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// As the user named it.
    pub from: String,
    /// The model directory.
    pub dir: PathBuf,
}

impl Start {
    /// What a stage starts from: what it names itself, then the model of the stage before, then
    /// the directory that the recipe's model names.
    ///
    /// # Errors
    /// When what the stage names cannot be found.
    pub fn of<P: Parts>(
        stage: &Stage<P>,
        before: Option<&Path>,
        directory: Option<&Path>,
    ) -> Result<Option<Self>, TaskError> {
        Ok(match (&stage.init, before.or(directory)) {
            (Some(init), _) => Some(Self { from: init.model.clone(), dir: resolve(&init.model)? }),
            (None, Some(dir)) => {
                Some(Self { from: dir.display().to_string(), dir: dir.to_owned() })
            }
            (None, None) => None,
        })
    }

    /// Puts weights into a model; what does not match is reported and left as it is.
    fn apply<B: Backend, M: Module<B>>(
        &self,
        model: &mut M,
        weights: &Weights,
    ) -> Result<InitReport, HubError> {
        let LoadReport { loaded, missing, unused, mismatched } =
            kiln_hub::apply::<B, M>(model, weights, Mode::Lenient)?;
        Ok(InitReport {
            from: self.from.clone(),
            loaded: loaded.len(),
            missing,
            unused,
            mismatched: mismatched.into_iter().map(|one| one.name).collect(),
        })
    }
}

/// Prepares a stage on a backend: `new` makes its model, and where it starts from somewhere `read`
/// reads that directory's weights, by our names, for the model that was made.
///
/// # Errors
/// When the model cannot be made or the weights cannot be read, and as [`TaskLearner::new`].
pub fn prepare<B: AutodiffBackend, T: Task<B>>(
    task: T,
    stage: &Stage<Bare>,
    seed: Seed,
    device: B::Device,
    start: Option<&Start>,
    new: impl FnOnce(&B::Device) -> Result<T::Model, TaskError>,
    read: impl FnOnce(&Path, &T::Model) -> Result<Weights, TaskError>,
) -> crate::Result<Prepared>
where
    T::Model: Adapt<B>,
{
    let mut init = None;
    let build = |device: &B::Device| -> Result<Built<T::Model>, TaskError> {
        let mut model = new(device)?;
        // Random weights first, in order, whatever of them is replaced.
        named::list(&model);
        let mut foundation = Foundation { base: None, adapters: Vec::new(), missing: Vec::new() };
        if let Some(start) = start {
            let weights = read(&start.dir, &model)?;
            let report = start.apply::<B, _>(&mut model, &weights)?;
            foundation.adapters = adapter::attach(&start.dir, &mut model, device)?;
            foundation.missing = [&report.missing[..], &report.mismatched].concat();
            foundation.base = Some(start.from.clone());
            init = Some(report);
        } else if stage.adapt.is_some() {
            let expected = "weights to start from: `init`, a stage before, or `model.directory`";
            let got = "set where nothing is there to adapt".to_owned();
            return Err(Error::Setting { key: "adapt", got, expected }.into());
        }
        let adapters = Adapters::put(&mut model, stage.adapt.as_ref(), foundation, device)?;
        Ok(Built { model, adapters })
    };
    let learner = TaskLearner::<B, _>::new(task, build, stage, seed, device)?;
    kiln_kernels::give_back_freed_memory();
    Ok(Prepared { learner: Box::new(learner), init })
}

/// The directory of a run, a model directory or a hub id.
///
/// # Errors
/// When there is none.
pub fn resolve(name: &str) -> Result<PathBuf, TaskError> {
    Ok(kiln_hub::resolve(name, Path::new("runs"))?.path)
}

/// What of a model a stage trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Parameters in all.
    pub parameters: usize,
    /// Of them, trained.
    pub trainable: usize,
    /// What the backward pass costs, in forward passes.
    pub backward: f64,
}

/// What of a model a stage trains. Where adapters are trained, heads that the starting weights may
/// turn out to lack are not counted. `depth` is as of [`cost::backward`].
///
/// # Errors
/// When a freeze pattern matches nothing, or adapters do not fit the model.
pub fn count<B: AutodiffBackend, M: AutodiffModule<B> + Adapt<B>, P: Parts>(
    model: &M,
    stage: &Stage<P>,
    depth: impl Fn(&str) -> Option<(usize, usize)>,
) -> crate::Result<Counts> {
    let mut model = model.clone();
    let foundation = Foundation { base: None, adapters: Vec::new(), missing: Vec::new() };
    let device = model.devices().into_iter().next().unwrap_or_default();
    let adapters = Adapters::put(&mut model, stage.adapt.as_ref(), foundation, &device)?;
    let held = |name: &str| adapters.as_ref().is_some_and(|adapters| adapters.holds(name));
    let listed: Vec<NamedShape> = named::list(&model);
    let groups = groups::plan(&listed, &stage.freeze, held, None, |_| None)?;
    let [parameters, trainable] = adapters::sizes(&listed, &groups);
    Ok(Counts { parameters, trainable, backward: cost::backward(&groups, depth) })
}
