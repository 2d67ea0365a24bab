//! What a stage starts from, and what it would train.

use crate::{
    groups::{self, Role},
    modality::{InitReport, Prepared},
    named::{self, NamedShape},
    recipe::{Bare, Parts, Stage},
    task::{Task, TaskError},
    task_learner::TaskLearner,
};
use burn::module::{AutodiffModule, Module};
use kiln_core::{AutodiffBackend, Backend, Seed};
use kiln_hub::{HubError, LoadReport, Mode, Weights};
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
) -> crate::Result<Prepared> {
    let mut init = None;
    let build = |device: &B::Device| -> Result<T::Model, TaskError> {
        let mut model = new(device)?;
        // Random weights first, in order, whatever of them is replaced.
        named::list(&model);
        if let Some(start) = start {
            let weights = read(&start.dir, &model)?;
            init = Some(start.apply::<B, _>(&mut model, &weights)?);
        }
        Ok(model)
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

/// Parameters of a model, and how many of them a stage trains.
///
/// # Errors
/// When a freeze pattern matches nothing.
pub fn count<B: AutodiffBackend, M: AutodiffModule<B>, P: Parts>(
    model: &M,
    stage: &Stage<P>,
) -> crate::Result<[usize; 2]> {
    let listed: Vec<NamedShape> = named::list(model);
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let groups = groups::plan(&listed, &stage.freeze, None, |_| None)?;
    let trained = groups.values().filter(|parameter| parameter.role == Role::Trained);
    Ok([
        listed.iter().map(|parameter| size(&parameter.shape)).sum(),
        trained.map(|parameter| size(&parameter.shape)).sum(),
    ])
}
