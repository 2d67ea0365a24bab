//! Objectives: what a stage optimises.
//!
//! One file an objective, written against [`kiln_core::TokenModel`], so that each meets every
//! modality whose model offers the targets it needs. To add one, write its file and give it a line
//! in [`Objective`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod autoregressive;
pub mod contrastive;
pub mod losses;
mod masked;
mod pretext;
mod score;
mod self_distillation;
mod signs;
mod spans;
mod supervised;
#[cfg(test)]
mod toy;

pub use autoregressive::Autoregressive;
pub use contrastive::{Contrastive, Gumbel};
pub use masked::{Masked, MaskedKind};
pub use pretext::Pretext;
pub use self_distillation::SelfDistillation;
pub use spans::Spans;
pub use supervised::Supervised;

use kiln_core::{Backend, Loss, StepContext, TokenModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The objectives, as recipes name them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The model's own task with labels: forecasting, transcription, classification.
    Supervised(Supervised),
    /// Hidden tokens are predicted from the rest.
    Masked(Masked),
    /// Each token is predicted from those before it.
    Autoregressive(Autoregressive),
    /// Hidden tokens are told from distractors, as a quantiser codes them.
    Contrastive(Contrastive),
    /// Tasks of the modality's own whose labels cost nothing.
    Pretext(Pretext),
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("objective.{key}: {problem}")]
pub struct ObjectiveError {
    /// The recipe key, below `objective`.
    pub key: &'static str,
    /// What is wrong, and what was expected.
    pub problem: String,
}

/// Huber's delta must be above zero.
fn check_huber(key: &'static str, huber: Option<f64>) -> Result<(), ObjectiveError> {
    match huber {
        Some(delta) if !(delta > 0.0 && delta.is_finite()) => {
            Err(ObjectiveError { key, problem: format!("is {delta}; expected above 0") })
        }
        _ => Ok(()),
    }
}

impl Objective {
    /// The name in recipes and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Supervised(_) => "supervised",
            Self::Masked(_) => "masked",
            Self::Autoregressive(_) => "autoregressive",
            Self::Contrastive(_) => "contrastive",
            Self::Pretext(_) => "pretext",
        }
    }

    /// Whether tokens must not see those after them.
    pub fn causal(&self) -> bool {
        matches!(self, Self::Autoregressive(_))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn validate(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Masked(masked) => masked.validate(),
            Self::Contrastive(contrastive) => contrastive.validate(),
            Self::Pretext(pretext) => pretext.validate(),
            Self::Autoregressive(autoregressive) => {
                check_huber("autoregressive.huber", autoregressive.huber)
            }
            Self::Supervised(_) => Ok(()),
        }
    }
}

impl<B: Backend, M: TokenModel<B>> kiln_core::Objective<B, M> for Objective {
    fn loss(&self, model: &M, batch: &M::Batch, context: &mut StepContext<'_>) -> Loss<B> {
        match self {
            Self::Supervised(supervised) => supervised.loss(model, batch, context),
            Self::Masked(masked) => masked.loss(model, batch, context),
            Self::Autoregressive(autoregressive) => autoregressive.loss(model, batch, context),
            Self::Contrastive(contrastive) => contrastive.loss(model, batch, context),
            Self::Pretext(pretext) => pretext.loss(model, batch, context),
        }
    }
}
