//! Model architectures of a modality, as [`StageJob`](crate::stage_job::StageJob) and
//! [`StageTask`](crate::stage_task::StageTask) train them: what a modality implements.

use crate::{
    recipe::{ModalitySpec, Problem, Recipe, Stage},
    results::Evaluation,
    start::Start,
    task::{Measure, TaskError, TaskSource},
};
use burn::module::{AutodiffModule, Module};
use kiln_core::{AutodiffBackend, Backend, HostBatch, Model, Rng, Seed};
use kiln_hub::{Weights, adapter::Published};
use kiln_nn::{ConfigError, adapt::Adapt};
use kiln_objectives::{Objective, RefusedObjective};
use std::path::{Path, PathBuf};

/// The model architecture of a modality: its configuration, its data, what a step costs, its files
/// and its evaluation.
pub trait Architecture: Sized + 'static {
    /// The modality's own parts of a recipe.
    type Spec: ModalitySpec<Objective = Objective>;
    /// The configuration of a model.
    type Config: Clone + Send + Sync + 'static;
    /// An example.
    type Example: Send + Sync + 'static;
    /// A batch on the host.
    type HostBatch: Send + 'static;
    /// What an open stage keeps beside its examples: tokenizers, vocabularies, collators.
    type Data: Send + Sync + 'static;
    /// A batch on the device.
    type Batch<B: Backend>;
    /// The model without gradients: for validation, and to be written.
    type Model<B: Backend>: Module<B> + Model<B, Batch = Self::Batch<B>>;
    /// The same model under training.
    type Trained<B: AutodiffBackend>: AutodiffModule<B, InnerModule = Self::Model<B::InnerBackend>>
        + Adapt<B>
        + Model<B, Batch = Self::Batch<B>>;

    /// The model that a recipe names.
    ///
    /// # Errors
    /// When it cannot be found or read.
    fn model(recipe: &Recipe<Self::Spec>) -> Result<ModelSource<Self::Config>, TaskError>;

    /// Checks that model and data of a stage provide what its objective needs.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    fn check_objective(stage: &StageSpec<'_, Self>) -> Result<(), RefusedObjective>;

    /// Checks the values of a stage beyond its objective.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    fn check_stage(stage: &StageSpec<'_, Self>) -> Result<(), Problem> {
        let _ = stage;
        Ok(())
    }

    /// Checks the evaluation of a number against the recipe's model.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    fn check_evaluation(
        recipe: &Recipe<Self::Spec>,
        number: usize,
        config: &Self::Config,
    ) -> Result<(), Problem> {
        let _ = (recipe, number, config);
        Ok(())
    }

    /// Reads the data of the evaluations, so that a mistake is found before hours of training.
    ///
    /// # Errors
    /// When they cannot be read.
    fn check_files(recipe: &Recipe<Self::Spec>) -> Result<(), TaskError> {
        let _ = recipe;
        Ok(())
    }

    /// Configuration and cost of a stage, before anything is read at length. `before` is what the
    /// stage before ends with, `init` the directory that this one names.
    ///
    /// # Errors
    /// When data cannot be found.
    fn plan(
        stage: &StageSpec<'_, Self>,
        before: Option<&Self::Config>,
        init: Option<&Path>,
    ) -> Result<StageCost<Self::Config>, TaskError>;

    /// Opens the data of a stage and decides the configuration of its model.
    ///
    /// # Errors
    /// When data cannot be read, or does not fit the model.
    fn open(
        stage: &StageSpec<'_, Self>,
        start: Option<&Start>,
    ) -> Result<OpenStage<Self>, TaskError>;

    /// A model with random weights.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    fn init<B: AutodiffBackend>(
        config: Self::Config,
        device: &B::Device,
    ) -> Result<Self::Trained<B>, TaskError>;

    /// Weights of a directory by our names, for `model` to start from. `whole` says whether all of it
    /// is taken, or parts that `init.parts` names.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read_weights<B: AutodiffBackend>(
        stage: &OpenStage<Self>,
        dir: &Path,
        whole: bool,
        model: &Self::Trained<B>,
        device: &B::Device,
    ) -> Result<Weights, TaskError>;

    /// Puts examples together; `None` where nothing of them can be used. Runs on the threads that
    /// read ahead; `rng` is for what the modality draws of a batch in training.
    ///
    /// # Errors
    /// When they do not fit together.
    fn collate(
        stage: &OpenStage<Self>,
        examples: &[Self::Example],
        rng: &mut Rng,
    ) -> Result<Option<Self::HostBatch>, TaskError>;

    /// A batch as objectives draw for it: its layout in tokens of the model, and its token ids.
    fn host<'a>(stage: &'a OpenStage<Self>, batch: &'a Self::HostBatch) -> Box<dyn HostBatch + 'a>;

    /// Tokens of a batch, for throughput.
    fn tokens(stage: &OpenStage<Self>, batch: &Self::HostBatch) -> usize;

    /// The task of a batch's examples, where there are several, see
    /// [`Task::kind`](crate::task::Task::kind).
    fn kind(batch: &Self::HostBatch) -> Option<&str> {
        let _ = batch;
        None
    }

    /// Copies a batch to the device.
    fn upload<B: Backend>(
        stage: &OpenStage<Self>,
        batch: Self::HostBatch,
        device: &B::Device,
    ) -> Self::Batch<B>;

    /// The measures of a validation, those of the loss among them; the first decides which weights
    /// are the best, lower is better.
    ///
    /// # Errors
    /// When they cannot be computed.
    fn measures<B: Backend>(
        stage: &OpenStage<Self>,
        model: &Self::Model<B>,
        loss: Vec<Measure>,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let _ = (stage, model, device);
        Ok(loss)
    }

    /// Writes a model directory, which exists.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write<B: Backend>(
        stage: &OpenStage<Self>,
        model: &Self::Model<B>,
        dir: &Path,
    ) -> Result<(), TaskError>;

    /// The published family that holds such models, for adapters in PEFT's layout; `None` where none
    /// does.
    ///
    /// # Errors
    /// When the family's names are wrong.
    fn published(config: &Self::Config) -> Result<Option<Published>, TaskError> {
        let _ = config;
        Ok(None)
    }

    /// The layer of a parameter, counted from the input, and the number of layers; `None` outside
    /// layers.
    fn layer_index(config: &Self::Config, parameter: &str) -> Option<(usize, usize)> {
        let _ = (config, parameter);
        None
    }

    /// Measures a finished model directory as the recipe's evaluations say.
    ///
    /// # Errors
    /// When the model or the data cannot be read.
    fn evaluate(
        recipe: &Recipe<Self::Spec>,
        model: &Path,
        seed: Seed,
    ) -> Result<Evaluation, TaskError>;
}

/// The model that a recipe names.
#[derive(Clone, Debug)]
pub struct ModelSource<C> {
    /// The key below `model` that says which: `preset`.
    pub key: &'static str,
    /// Its configuration.
    pub config: Result<C, ConfigError>,
    /// The directory of its weights, where there is one.
    pub directory: Option<PathBuf>,
}

/// One stage of a recipe.
#[derive(Debug)]
pub struct StageSpec<'a, A: Architecture> {
    /// The recipe.
    pub recipe: &'a Recipe<A::Spec>,
    /// The configuration of its model, before heads are added and removed.
    pub config: &'a A::Config,
    /// The directory that its model names.
    pub directory: Option<&'a Path>,
    /// The stage's number, from 0.
    pub number: usize,
    /// The stage.
    pub settings: &'a Stage<A::Spec>,
}

impl<'a, A: Architecture> StageSpec<'a, A> {
    /// The stage's data.
    pub fn data(&self) -> &'a <A::Spec as ModalitySpec>::Data {
        self.recipe.data_of(self.settings)
    }

    /// The seed of data.
    pub fn seed(&self) -> Seed {
        self.recipe.data_seed()
    }

    /// Whether it starts from trained weights.
    pub fn has_start(&self) -> bool {
        self.number > 0 || self.settings.init.is_some() || self.directory.is_some()
    }

    /// A problem with a key of the stage's data.
    pub fn data_problem(&self, key: &str, problem: &str) -> Problem {
        let key = self.recipe.data_key(self.number, key);
        let message = format!("`{key}` {problem}");
        Problem::new(key, message)
    }
}

/// What a stage would take; costs are of one micro-batch.
#[derive(Clone, Debug)]
pub struct StageCost<C> {
    /// The configuration of its model.
    pub config: C,
    /// Examples of the source; `None` for a generator.
    pub examples: Option<u64>,
    /// Floating-point operations of the forward pass.
    pub forward_flops: f64,
    /// Tokens, none of them padding.
    pub tokens: f64,
    /// Values of activations that are kept for the backward pass.
    pub activations: f64,
}

/// A stage whose data is open.
pub struct OpenStage<A: Architecture> {
    /// The configuration of its model.
    pub config: A::Config,
    /// What is optimised.
    pub objective: Objective,
    /// Training examples.
    pub train: TaskSource<A::Example>,
    /// Whether the trainer draws their order, again each epoch.
    pub shuffle: bool,
    /// Validation sets; their losses are averaged, each counting alike.
    pub validation: Vec<ValidationSet<A::Example>>,
    /// Examples a batch of validation.
    pub validation_batch: usize,
    /// What the modality keeps beside them.
    pub data: A::Data,
}

/// Examples set aside for validation.
#[derive(Clone, Debug)]
pub struct ValidationSet<E> {
    /// The name, for the measures where there are several.
    pub name: String,
    /// The examples.
    pub examples: Vec<E>,
}

impl<E> ValidationSet<E> {
    /// The only validation set of a stage.
    pub fn only(examples: Vec<E>) -> Vec<Self> {
        vec![Self { name: "validation".into(), examples }]
    }
}
