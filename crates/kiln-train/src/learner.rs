//! A stage of training with its backend, model and data hidden: what the trainer's loop drives.

use crate::task::Measure;
use kiln_core::DiagnosticValue;
use std::{collections::BTreeMap, path::Path};

/// What one micro-batch gave.
#[derive(Clone, Debug, Default)]
pub struct MicroReport {
    /// The mean loss over the positions counted. May be NaN or infinite: the trainer decides.
    pub loss: f64,
    /// Positions counted.
    pub count: usize,
    /// What it weighs in the mean of its step; 0 where nothing was counted.
    pub weight: f64,
    /// Examples in the batch.
    pub examples: usize,
    /// Tokens the model saw.
    pub tokens: usize,
    /// Training diagnostics, when the step asked for them.
    pub diagnostics: Vec<DiagnosticValue>,
    /// Seconds that the step waited for data.
    pub waited: f64,
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateReport {
    /// The norm of all gradients before clipping.
    pub gradient_norm: f64,
    /// Whether the gradients were clipped.
    pub clipped: bool,
    /// False when the gradients were not finite and nothing was changed.
    pub applied: bool,
}

/// A tensor on the host: shape and little-endian f32 values.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// Everything that changes while a stage trains, by name: `model.<path>`, `ema.<path>`,
/// `teacher.<path>`, `optimizer.<state>.<path>`. The position in the data and all random numbers follow from the
/// step, so nothing else needs saving.
pub type LearnerState = BTreeMap<String, HostTensor>;

/// One stage of training.
///
/// `step` counts updates of this stage from zero. An update is [`Learner::accumulate`] for each
/// micro-batch, then [`Learner::update`] or [`Learner::discard`].
pub trait Learner {
    /// Forward and backward on one micro-batch of `step`; its gradients are accumulated.
    ///
    /// # Errors
    /// When data cannot be read.
    fn accumulate(
        &mut self,
        step: u64,
        micro: u64,
        collect_metrics: bool,
    ) -> crate::Result<MicroReport>;

    /// One optimizer step with the accumulated gradients, which are then dropped.
    ///
    /// # Errors
    /// When the device fails.
    fn update(&mut self, learning_rate: f64) -> crate::Result<UpdateReport>;

    /// Drops the accumulated gradients.
    fn discard(&mut self);

    /// Measures the model (its moving average where there is one) on validation data.
    ///
    /// # Errors
    /// When validation data cannot be read.
    fn validate(&mut self) -> crate::Result<Vec<Measure>>;

    /// A copy of all that changes.
    ///
    /// # Errors
    /// When the device fails.
    fn state(&self) -> crate::Result<LearnerState>;

    /// Goes back to a saved state.
    ///
    /// # Errors
    /// When names or shapes differ from this stage's; nothing is changed then.
    fn restore(&mut self, state: &LearnerState) -> crate::Result<()>;

    /// Writes the model (its moving average where there is one) as a model directory.
    ///
    /// # Errors
    /// When the directory cannot be written.
    fn write_model(&self, dir: &Path) -> crate::Result<()>;

    /// Steps after which every example was seen; `None` where examples are endless.
    fn steps_per_epoch(&self) -> Option<u64>;

    /// Trainable and frozen parameters.
    fn parameters(&self) -> Parameters;
}

/// How many numbers a model holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Changed by training.
    pub trainable: usize,
    /// Frozen.
    pub frozen: usize,
}
