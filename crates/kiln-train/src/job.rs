//! A recipe as the runner and the binary take it, whatever its modality.

use crate::{recipe::Common, results::Evaluation, start::Prepared};
use std::path::Path;

/// A recipe that was understood: what `kiln run`, `kiln check` and `kiln evaluate` work with.
pub trait Job {
    /// What all modalities' recipes have in common.
    fn common(&self) -> &Common;

    /// The recipe with every default written out, as TOML: enough to repeat the run.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    fn resolved(&self) -> crate::Result<String>;

    /// What training would take, a stage, without training.
    ///
    /// # Errors
    /// When data or a starting model named by the recipe cannot be found.
    fn plan(&self) -> crate::Result<Vec<StagePlan>>;

    /// Prepares a stage. It starts from `from` (the model directory of the stage before, or what
    /// the recipe's `init` names), or from random weights.
    ///
    /// # Errors
    /// When data or the starting model cannot be read.
    fn learner(&self, stage: usize, from: Option<&Path>) -> crate::Result<Prepared>;

    /// Measures a finished model directory as the recipe's evaluation says.
    ///
    /// # Errors
    /// When the model or the data cannot be read.
    fn evaluate(&self, model: &Path) -> crate::Result<Evaluation>;
}

/// What a stage would take.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePlan {
    /// The stage's name.
    pub name: String,
    /// Parameters in all.
    pub parameters: usize,
    /// Of them, trained.
    pub trainable: usize,
    /// Floating-point operations an optimizer step, forward and backward.
    pub flops_per_step: f64,
    /// Tokens an optimizer step that this is for; none of them padding.
    pub tokens_per_step: f64,
    /// Bytes for weights, gradients, optimizer state and activations, an estimate.
    pub memory: f64,
    /// Examples in the source; `None` for a generator.
    pub examples: Option<u64>,
}
