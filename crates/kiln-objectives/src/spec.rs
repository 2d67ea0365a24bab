//! What an objective says of itself.

use kiln_core::{Backend, HostBatch, Lack, Loss, Model, Need, StepContext, Teacher};

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("objective.{key}: {problem}")]
pub struct ObjectiveError {
    /// The recipe key, below `objective`.
    pub key: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl ObjectiveError {
    /// A setting by its key, below `objective`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// An objective that cannot be trained as a recipe has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RefusedObjective {
    /// The recipe key, below the stage unless `of_recipe`.
    pub key: String,
    /// Whether the key is one of the whole recipe, such as `data.packing.cross`.
    pub of_recipe: bool,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl RefusedObjective {
    /// The recipe key, of the stage of this number.
    pub fn key_of(&self, stage: usize) -> String {
        if self.of_recipe { self.key.clone() } else { format!("stage.{stage}.{}", self.key) }
    }
}

/// A model of any modality whose batches are `T`.
pub type DynModel<'a, B, T> = dyn Model<B, Batch = T> + 'a;

/// An objective: its settings, what it needs, and its loss.
///
/// A step has two parts: the threads that read ahead [draw](Self::draw) on the host what is random,
/// then [the loss](Self::loss_of_drawn) is computed on the device.
pub trait ObjectiveSpec {
    /// What it draws for a batch: masks, spans, permutations, pairs; and what follows from the layout.
    type Drawn: Clone + std::fmt::Debug + Send;

    /// Checks the settings.
    ///
    /// # Errors
    /// When a setting is out of range.
    fn validate(&self) -> Result<(), ObjectiveError>;

    /// What it needs of the model and the data.
    fn needs(&self) -> Vec<Need>;

    /// The teacher that it learns from, if any.
    fn teacher(&self) -> Option<Teacher> {
        None
    }

    /// Draws what is random in a step, on the host and without the model.
    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Self::Drawn;

    /// The loss of `model` on `batch`, given what was drawn for it. `teacher` is the model of
    /// [`Self::teacher`]; where it is missing the model teaches itself. A batch in which nothing can be
    /// scored, such as one without labels, has a count of 0.
    ///
    /// # Errors
    /// When the model lacks a capability that the objective needs.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack>;

    /// Draws, and computes the loss: for batches that no thread made ahead.
    ///
    /// # Errors
    /// As [`Self::loss_of_drawn`].
    fn loss<B: Backend, T: HostBatch>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let drawn = self.draw(batch, context);
        self.loss_of_drawn(model, teacher, batch, drawn, context)
    }
}

/// Checks that `found` is as `expected`.
pub(crate) fn check(
    fine: bool,
    key: &str,
    found: impl std::fmt::Display,
    expected: &str,
) -> Result<(), ObjectiveError> {
    if fine {
        return Ok(());
    }
    Err(ObjectiveError::new(key, format!("is {found}; expected {expected}")))
}

/// Checks a share between 0 and 1, both excluded.
pub(crate) fn check_ratio(key: &str, found: f64) -> Result<(), ObjectiveError> {
    check(found > 0.0 && found < 1.0, key, found, "above 0 and below 1")
}

/// Checks a finite number above 0: a temperature, a margin.
pub(crate) fn check_positive(key: &str, found: f64) -> Result<(), ObjectiveError> {
    check(found > 0.0 && found.is_finite(), key, found, "above 0")
}

/// Checks a finite number of 0 or more: a weight.
pub(crate) fn check_weight(key: &str, found: f64) -> Result<(), ObjectiveError> {
    check(found >= 0.0 && found.is_finite(), key, found, "0 or more")
}

/// Checks a count of 1 or more.
pub(crate) fn check_count(key: &str, found: usize) -> Result<(), ObjectiveError> {
    check(found > 0, key, found, "at least 1")
}
