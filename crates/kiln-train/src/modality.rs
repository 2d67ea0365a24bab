//! What a modality gives the binary: recipes of its own, jobs made from them, and what its model
//! directories hold.

use crate::{
    failure::{Failure, Result},
    recipe::{Common, RecipeText},
    results::Evaluation,
    start::Prepared,
    verb::Verb,
};
use kiln_core::blame::BlameOf;
use kiln_hub::ModelDir;
use std::path::Path;

/// A modality: time series, speech, text, images, tables.
pub trait Modality: Sync {
    /// As recipes name it: `timeseries`.
    fn name(&self) -> &'static str;

    /// Reads a recipe of this modality.
    ///
    /// # Errors
    /// When the recipe has a mistake; the error points at it.
    fn job(&self, text: &RecipeText) -> crate::Result<Box<dyn Job>>;

    /// The JSON Schema of this modality's recipes.
    fn schema(&self) -> schemars::Schema;

    /// Whether a model directory's `model_type` is one of this modality's.
    fn owns(&self, model_type: &str) -> bool;

    /// The commands of the binary that use its models and prepare its data.
    fn verbs(&self) -> &'static [Verb] {
        &[]
    }

    /// Its error types that are attributed to the user, or to the machine.
    fn errors(&self) -> &'static [BlameOf] {
        &[]
    }

    /// Log targets of its own, which say as much as Kiln's.
    fn log_targets(&self) -> &'static [&'static str] {
        &[]
    }

    /// Log targets below it that say nothing unless asked.
    fn silent_log_targets(&self) -> &'static [&'static str] {
        &[]
    }

    /// Facts worth showing of a model directory: context length, horizon, vocabulary.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn facts(&self, dir: &Path) -> crate::Result<Vec<(String, String)>>;
}

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

/// The modality that a model belongs to.
///
/// # Errors
/// When none reads models of its type.
pub fn owner(
    modalities: &'static [&'static dyn Modality],
    model: &ModelDir,
) -> Result<&'static dyn Modality> {
    let model_type = model.model_type();
    modalities.iter().find(|modality| modality.owns(model_type)).copied().ok_or_else(|| {
        let what = if model_type.is_empty() {
            "its config.json has no `model_type`".to_owned()
        } else {
            format!("nothing here reads models of type `{model_type}`")
        };
        Failure::user(
            format!("{} cannot be used: {what}", model.path.display()),
            format!("modalities of this build: {}", names(modalities)),
        )
    })
}

/// The names of modalities, for messages.
pub fn names(modalities: &[&dyn Modality]) -> String {
    modalities.iter().map(|modality| modality.name()).collect::<Vec<_>>().join(", ")
}
