//! Training task: the model, the data and the loss of one stage.

use burn::module::AutodiffModule;
use kiln_core::{
    AutodiffBackend, Loss, Seed, Source, StepContext, Teacher,
    blame::{Blame, Blamed},
};
use kiln_hub::adapter::Published;
use std::{error::Error, path::Path, sync::Arc};

/// Why a modality's own code failed: the trainer adds the stage and the step.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// The source of a task's examples, shared with the threads that read ahead.
pub type TaskSource<E> = Arc<dyn Source<Example = E, Error = TaskSourceError>>;

/// An example that could not be read, whatever its source.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TaskSourceError(#[from] pub TaskError);

impl Blamed for TaskSourceError {
    fn blame(&self) -> Blame<'_> {
        Blame::Inner(self.0.as_ref())
    }
}

/// A validation metric: one number of a validation pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Lower case, as in `results.json`: `loss`, `mse`, `wer`.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// The name of the measure that is the objective's own loss.
pub const LOSS: &str = "loss";

impl Measure {
    /// A measure by its name; none where nothing was counted.
    pub fn of(name: &str, value: Option<f64>) -> Option<Self> {
        Some(Self { name: name.to_owned(), value: value? })
    }
}

/// Training task of one stage: its model, its data and its loss.
pub trait Task<B: AutodiffBackend>: Send + Sync + 'static {
    /// The model that is trained.
    type Model: AutodiffModule<B>;
    /// What the source yields.
    type Example: Send + 'static;
    /// A batch on the host, ready to be uploaded.
    type HostBatch: Send + 'static;

    /// Where training examples come from.
    fn source(&self) -> TaskSource<Self::Example>;

    /// Whether the order is shuffled each epoch; a generator needs none.
    fn shuffle(&self) -> bool {
        true
    }

    /// Puts examples together, and draws what is random in their step. Runs on the threads that read
    /// ahead, where no diagnostics are collected.
    ///
    /// # Errors
    /// When the examples do not fit together.
    fn collate(
        &self,
        examples: Vec<Self::Example>,
        context: &mut StepContext<'_>,
    ) -> Result<Self::HostBatch, TaskError>;

    /// How many tokens the model sees in this batch, for throughput.
    fn tokens(&self, batch: &Self::HostBatch) -> usize;

    /// The task of a batch's examples, for multi-task training, where what they count is not what others do: tokens of
    /// one task, texts of another. Micro-batches of a step weigh what they count beside those of
    /// their kind.
    fn kind<'a>(&self, batch: &'a Self::HostBatch) -> Option<&'a str> {
        let _ = batch;
        None
    }

    /// The teacher that the loss needs, if any.
    fn teacher(&self) -> Option<Teacher> {
        None
    }

    /// Uploads a batch and computes its loss; `teacher` is the model of [`Self::teacher`], which
    /// gets no gradients and is passed in [evaluation mode](kiln_kernels::eval_mode).
    ///
    /// # Errors
    /// When the model lacks what the objective needs.
    fn loss(
        &self,
        model: &Self::Model,
        teacher: Option<&Self::Model>,
        batch: Self::HostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError>;

    /// Measures the model on validation data; empty when there is none, as by default, and a measure
    /// is left out when nothing counts for it. The first is what early stopping and "best" go by,
    /// [`LOSS`] where that is the same; lower is better.
    ///
    /// What is measured must not depend on when: random numbers follow from `seed`, and `step` is
    /// the last of the stage.
    ///
    /// # Errors
    /// When validation data cannot be read.
    fn validate(
        &self,
        _model: &<Self::Model as AutodiffModule<B>>::InnerModule,
        _teacher: Option<&<Self::Model as AutodiffModule<B>>::InnerModule>,
        _seed: Seed,
        _step: u64,
        _device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        Ok(Vec::new())
    }

    /// Writes a model directory: config, weights, preprocessor. `dir` exists and is empty.
    ///
    /// # Errors
    /// When the directory cannot be written.
    fn write_model(
        &self,
        model: &<Self::Model as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError>;

    /// How a published family would hold the model, for adapters in PEFT's layout; `None` where none
    /// can.
    ///
    /// # Errors
    /// When the family's names are wrong.
    fn published(&self) -> Result<Option<Published>, TaskError> {
        Ok(None)
    }

    /// The layer index of a parameter, counted from the input, and the number of layers: for
    /// layer-wise learning-rate decay. `None` for parameters outside layers.
    fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        let _ = parameter;
        None
    }
}
