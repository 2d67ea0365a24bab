//! Objectives: what a stage optimises.
//!
//! One file an objective, written against [`kiln_core::TokenModel`], so that each meets every
//! modality whose model offers the targets it needs. To add one, write its file, give it a line in
//! [`Objective`] and in those of its methods that ask, and say in [`Objective::fits`] what it needs.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod autoregressive;
mod bottleneck;
pub mod contrastive;
mod denoising;
mod draw;
mod fit;
mod graded;
#[cfg(test)]
mod lively;
pub mod losses;
mod masked;
mod mixture;
mod paired;
mod permuted;
mod preference;
mod pretext;
mod ranked;
mod replaced;
mod reranked;
mod rewarded;
mod score;
mod self_distillation;
mod signs;
mod spans;
mod supervised;
#[cfg(test)]
mod toy;
mod validation;

pub use autoregressive::Autoregressive;
pub use bottleneck::{Bottleneck, BottleneckDecoder, BottleneckTask};
pub use contrastive::{Contrastive, Gumbel};
pub use denoising::{Denoiser, DenoiserKind, DenoiserSet, Denoising, SpanNoise};
pub use fit::{Offer, Offers, both_sides, offer};
pub use graded::{Advantage, Graded, Unlikely};
pub use masked::{Masked, MaskedKind, RatioDecay};
pub use mixture::{Mixture, Part};
pub use paired::{Paired, Views};
pub use permuted::Permuted;
pub use preference::Preference;
pub use pretext::Pretext;
pub use ranked::{Cosent, Ranked};
pub use replaced::Replaced;
pub use reranked::Reranked;
pub use rewarded::{Reward, Rewarded, last_answer};
pub use self_distillation::SelfDistillation;
pub use spans::Spans;
pub use supervised::Supervised;
pub use validation::Validation;

use kiln_core::{Backend, Loss, StepContext, Teacher, TokenModel};
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
    /// Sequences that belong together are told from all others.
    Paired(Paired),
    /// Pairs of sequences are ordered as they are graded.
    Ranked(Ranked),
    /// Candidates that are read together with their query are ordered: the relevant one first.
    Reranked(Reranked),
    /// Hidden tokens are predicted as the model's own average sees them that sees all.
    SelfDistillation(SelfDistillation),
    /// What was taken out of a sequence is written anew.
    Denoising(Denoising),
    /// Some tokens are predicted one after the other in any order, from all others.
    Permuted(Permuted),
    /// Tokens that a model itself put in the place of others are told from those that stood there.
    Replaced(Replaced),
    /// A sequence is told again from one vector of it.
    Bottleneck(Bottleneck),
    /// The better of two answers becomes likelier than the worse.
    Preference(Preference),
    /// Answers that the model writes become likelier the more they are rewarded.
    Rewarded(Rewarded),
    /// Texts with good grades become likelier than those with bad ones.
    Graded(Graded),
    /// Tasks of the modality's own whose labels cost nothing.
    Pretext(Pretext),
    /// Several of these.
    Mixture(Mixture),
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

/// The weight of what has none of its own.
fn one() -> f64 {
    1.0
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
            Self::Paired(_) => "paired",
            Self::Ranked(_) => "ranked",
            Self::Reranked(_) => "reranked",
            Self::SelfDistillation(_) => "self-distillation",
            Self::Denoising(_) => "denoising",
            Self::Permuted(_) => "permuted",
            Self::Replaced(_) => "replaced",
            Self::Bottleneck(_) => "bottleneck",
            Self::Preference(_) => "preference",
            Self::Rewarded(_) => "rewarded",
            Self::Graded(_) => "graded",
            Self::Pretext(_) => "pretext",
            Self::Mixture(_) => "mixture",
        }
    }

    /// The objectives that it is made of: itself, or the parts of a mixture.
    pub fn each(&self) -> Vec<&Self> {
        match self {
            Self::Mixture(mixture) => mixture.parts.iter().map(|part| &part.objective).collect(),
            other => vec![other],
        }
    }

    /// The objectives that a step may have, with their weights.
    pub(crate) fn weighted(&self, step: u64) -> Vec<(&Self, f64)> {
        match self {
            Self::Mixture(mixture) => mixture.weighted(step),
            other => vec![(other, 1.0)],
        }
    }

    /// Whether some part of it is of a kind.
    pub fn has(&self, kind: impl Fn(&Self) -> bool) -> bool {
        self.each().into_iter().any(kind)
    }

    /// Whether it, or a part of it, learns from labels.
    pub fn is_supervised(&self) -> bool {
        self.has(|one| matches!(one, Self::Supervised(_)))
    }

    /// The teacher that it needs, if any.
    pub fn teacher(&self) -> Option<Teacher> {
        self.each().into_iter().find_map(|objective| match objective {
            Self::SelfDistillation(distillation) => Some(Teacher::Average(distillation.decay)),
            Self::Rewarded(rewarded) if rewarded.beta > 0.0 => Some(Teacher::Start),
            Self::Preference(_) => Some(Teacher::Start),
            _ => None,
        })
    }

    /// Whether it, or a part of it, trains the head that scores a vocabulary.
    pub fn writes_vocabulary(&self) -> bool {
        self.has(Self::predicts_tokens)
    }

    /// Whether it, or a part of it, hides tokens, for which something has to stand; `pairs` says
    /// whether the data says what belongs together.
    pub fn hides_tokens(&self, pairs: bool) -> bool {
        self.has(|one| match one {
            Self::Masked(_)
            | Self::Contrastive(_)
            | Self::SelfDistillation(_)
            | Self::Permuted(_)
            | Self::Replaced(_)
            | Self::Bottleneck(_) => true,
            Self::Paired(paired) => !pairs && paired.views != Views::Dropout,
            _ => false,
        })
    }

    /// Whether it, or a part of it, makes one vector of a whole sequence, which then has to be of
    /// one document.
    pub fn pools(&self) -> bool {
        self.has(|one| matches!(one, Self::Paired(_) | Self::Ranked(_) | Self::Bottleneck(_)))
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
            Self::Autoregressive(autoregressive) => autoregressive.validate(),
            Self::Paired(paired) => paired.validate(),
            Self::Ranked(ranked) => ranked.validate(),
            Self::Reranked(reranked) => reranked.validate(),
            Self::SelfDistillation(distillation) => distillation.validate(),
            Self::Denoising(denoising) => denoising.validate(),
            Self::Permuted(permuted) => permuted.validate(),
            Self::Replaced(replaced) => replaced.validate(),
            Self::Bottleneck(bottleneck) => bottleneck.validate(),
            Self::Preference(preference) => preference.validate(),
            Self::Rewarded(rewarded) => rewarded.validate(),
            Self::Graded(graded) => graded.validate(),
            Self::Mixture(mixture) => mixture.validate(),
            Self::Supervised(_) => Ok(()),
        }
    }

    /// The loss of `model` on `batch`. `teacher` is what the objective asked for,
    /// [`Objective::teacher`]; where it is missing the model teaches itself.
    pub fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        match self {
            Self::Supervised(supervised) => supervised.loss(model, batch, context),
            Self::Masked(masked) => masked.loss(model, batch, context),
            Self::Autoregressive(autoregressive) => autoregressive.loss(model, batch, context),
            Self::Contrastive(contrastive) => contrastive.loss(model, batch, context),
            Self::Paired(paired) => paired.loss(model, batch, context),
            Self::Ranked(ranked) => ranked.loss(model, batch, context),
            Self::Reranked(reranked) => reranked.loss(model, batch, context),
            Self::SelfDistillation(distillation) => {
                distillation.loss(model, teacher, batch, context)
            }
            Self::Denoising(denoising) => denoising.loss(model, batch, context),
            Self::Permuted(permuted) => permuted.loss(model, batch, context),
            Self::Replaced(replaced) => replaced.loss(model, batch, context),
            Self::Bottleneck(bottleneck) => bottleneck.loss(model, batch, context),
            Self::Preference(preference) => preference.loss(model, teacher, batch, context),
            Self::Rewarded(rewarded) => rewarded.loss(model, teacher, batch, context),
            Self::Graded(graded) => graded.loss(model, batch, context),
            Self::Pretext(pretext) => pretext.loss(model, batch, context),
            Self::Mixture(mixture) => mixture.loss(model, teacher, batch, context),
        }
    }
}
