//! Starting weights of a stage (checkpoints to fine-tune from), and how many parameters it trains.

use crate::{
    Error,
    adapters::{self, Adapters, BaseModel, Built},
    cost, groups,
    learner::Learner,
    named::{self, NamedShape},
    recipe::{Init, InitPart, ModalitySpec, SharedOnly, Stage},
    task::{Task, TaskError},
    task_learner::TaskLearner,
};
use burn::module::{AutodiffModule, Module};
use kiln_core::{
    AutodiffBackend, Backend, Seed,
    pattern::{matches, nearest},
};
use kiln_hub::{LoadReport, Mode, Weights, adapter};
use kiln_nn::adapt::Adapt;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The folder of runs.
pub const RUNS: &str = "runs";

/// Starting weights: a checkpoint to fine-tune from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// As the user named it.
    pub from: String,
    /// The model directory.
    pub dir: PathBuf,
    /// What other models fill.
    pub parts: Vec<PartialInit>,
}

/// Parameters of another model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialInit {
    /// As the user named it.
    pub from: String,
    /// The model directory.
    pub dir: PathBuf,
    /// Patterns of names.
    pub names: Vec<String>,
}

/// A stage that is ready to train.
pub struct Prepared {
    /// The stage.
    pub learner: Box<dyn Learner>,
    /// What of the starting weights was used, and what did not match: shown to the user.
    pub init: Option<InitReport>,
}

/// How starting weights met a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReport {
    /// Where they came from.
    pub from: String,
    /// How many parameters (tensors) were taken over.
    pub loaded: usize,
    /// In the model but not in the file: left at their random start.
    pub missing: Vec<String>,
    /// In the file but not in the model: not used.
    pub unused: Vec<String>,
    /// In both, with different shapes: left at their random start.
    pub mismatched: Vec<String>,
}

impl Start {
    /// What a stage starts from: what it names itself, then the model of the stage before, then
    /// the directory that the recipe's model names.
    ///
    /// # Errors
    /// When what the stage names cannot be found.
    pub fn of<P: ModalitySpec>(
        stage: &Stage<P>,
        before: Option<&Path>,
        directory: Option<&Path>,
    ) -> Result<Option<Self>, TaskError> {
        Ok(match (&stage.init, before.or(directory)) {
            (Some(init), _) => Some(Self::find(init)?),
            (None, Some(dir)) => {
                let (from, dir) = (dir.display().to_string(), dir.to_owned());
                Some(Self { from, dir, parts: Vec::new() })
            }
            (None, None) => None,
        })
    }

    /// The models that a recipe names.
    ///
    /// # Errors
    /// When one cannot be found.
    pub fn find(init: &Init) -> Result<Self, TaskError> {
        let part = |InitPart { model, names }: &InitPart| {
            Ok(PartialInit { from: model.clone(), dir: resolve(model)?, names: names.clone() })
        };
        let parts = init.parts.iter().map(part).collect::<Result<_, TaskError>>()?;
        Ok(Self { from: init.model.clone(), dir: resolve(&init.model)?, parts })
    }

    /// Puts weights into a model, its own and those of its parts; what does not match is reported
    /// and left as it is.
    fn apply<B: Backend, M: Module<B>>(
        &self,
        model: &mut M,
        mut weights: Weights,
        parts: Vec<Weights>,
    ) -> Result<InitReport, TaskError> {
        let mut from = self.from.clone();
        let mut filled = Vec::new();
        for (part, mut theirs) in self.parts.iter().zip(parts) {
            let wanted = |name: &String| part.names.iter().any(|one| matches(one, name));
            theirs.tensors.retain(|name, _| wanted(name));
            filled.push(theirs.tensors.keys().cloned().collect::<BTreeSet<_>>());
            weights.tensors.append(&mut theirs.tensors);
            from.push_str(&format!(", {} of {}", part.names.join(", "), part.from));
        }
        let report = kiln_hub::apply::<B, M>(model, &weights, Mode::Lenient)?;
        for (part, filled) in self.parts.iter().zip(&filled) {
            part.check(filled, &report)?;
        }
        let LoadReport { loaded, missing, unused, mismatched } = report;
        Ok(InitReport {
            from,
            loaded: loaded.len(),
            missing,
            unused,
            mismatched: mismatched.into_iter().map(|one| one.name).collect(),
        })
    }
}

impl PartialInit {
    /// Whether every pattern filled something, and all that it named fitted.
    fn check(&self, filled: &BTreeSet<String>, report: &LoadReport) -> Result<(), Error> {
        if let Some(other) = report.mismatched.iter().find(|other| filled.contains(&other.name)) {
            return Err(Error::OtherShape {
                from: self.from.clone(),
                name: other.name.clone(),
                expected: other.expected.clone(),
                found: other.found.clone(),
            });
        }
        let taken = |name: &&String| filled.contains(*name);
        for pattern in &self.names {
            if !report.loaded.iter().filter(taken).any(|name| matches(pattern, name)) {
                let names = report.loaded.iter().chain(&report.missing).map(String::as_str);
                let near = nearest(pattern, names);
                let pattern = pattern.clone();
                return Err(Error::NoSuchParameter { key: "init.parts.names", pattern, near });
            }
        }
        Ok(())
    }
}

/// Prepares a stage on a backend: `new` makes its model, and where it starts from somewhere `read`
/// reads that directory's weights, by our names, for the model that was made.
///
/// # Errors
/// When the model cannot be made or the weights cannot be read, and as [`TaskLearner::new`].
pub fn prepare<B: AutodiffBackend, T: Task<B>>(
    task: T,
    stage: &Stage<SharedOnly>,
    seed: Seed,
    device: B::Device,
    start: Option<&Start>,
    new: impl FnOnce(&B::Device) -> Result<T::Model, TaskError>,
    read: impl Fn(&Path, &T::Model) -> Result<Weights, TaskError>,
) -> crate::Result<Prepared>
where
    T::Model: Adapt<B>,
{
    let mut init = None;
    let build = |device: &B::Device| -> Result<Built<T::Model>, TaskError> {
        let mut model = new(device)?;
        // Random weights first, in order, whatever of them is replaced.
        named::list(&model);
        let mut base_model = BaseModel { base: None, adapters: Vec::new(), missing: Vec::new() };
        if let Some(start) = start {
            let weights = read(&start.dir, &model)?;
            let parts = start.parts.iter().map(|part| read(&part.dir, &model));
            let parts = parts.collect::<Result<_, _>>()?;
            let report = start.apply::<B, _>(&mut model, weights, parts)?;
            base_model.adapters = adapter::attach(&start.dir, &mut model, device)?;
            base_model.missing = [&report.missing[..], &report.mismatched].concat();
            base_model.base = Some(start.from.clone());
            init = Some(report);
        } else if stage.adapt.is_some() {
            let expected = "weights to start from: `init`, a stage before, or `model.directory`";
            let got = "set where nothing is there to adapt".to_owned();
            return Err(Error::Setting { key: "adapt", got, expected }.into());
        }
        let adapters = Adapters::put(&mut model, stage.adapt.as_ref(), base_model, device)?;
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
    Ok(kiln_hub::resolve(name, Path::new(RUNS))?.path)
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
/// turn out to lack are not counted. `layer_index` is as of [`cost::backward`].
///
/// # Errors
/// When a freeze pattern matches nothing, or adapters do not fit the model.
pub fn count<B: AutodiffBackend, M: AutodiffModule<B> + Adapt<B>, P: ModalitySpec>(
    model: &M,
    stage: &Stage<P>,
    layer_index: impl Fn(&str) -> Option<(usize, usize)>,
) -> crate::Result<Counts> {
    let mut model = model.clone();
    let base_model = BaseModel { base: None, adapters: Vec::new(), missing: Vec::new() };
    let device = model.devices().into_iter().next().unwrap_or_default();
    let adapters = Adapters::put(&mut model, stage.adapt.as_ref(), base_model, &device)?;
    let held = |name: &str| adapters.as_ref().is_some_and(|adapters| adapters.holds(name));
    let listed: Vec<NamedShape> = named::list(&model);
    let groups = groups::plan(&listed, &stage.freeze, held, None, |_| None)?;
    let [parameters, trainable] = adapters::sizes(&listed, &groups);
    Ok(Counts { parameters, trainable, backward: cost::backward(&groups, layer_index) })
}
