//! Training objectives: what a stage optimises.
//!
//! One file an objective, written against the capabilities of a model
//! ([`kiln_core::Capabilities`]), so that each meets every modality that has what it needs. To add
//! one, write its file with an `impl` of [`ObjectiveSpec`], and give it a line in [`Objective`]'s
//! list below. What it needs is said once, in [`ObjectiveSpec::needs`]: from that follow the check of
//! a recipe, the heads of the model, and the matrix of objectives and modalities.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod autoregressive;
mod cosent;
mod cross_encoder;
mod denoising;
mod diagnostics;
mod diffusion;
mod dpo;
mod draw;
mod grpo;
#[cfg(test)]
mod hosts;
mod info_nce;
pub mod losses;
mod masked;
mod mixture;
mod objective;
mod permuted_lm;
mod pretext;
mod replaced_token_detection;
mod retromae;
mod reward_weighted;
mod score;
mod self_distillation;
mod spans;
mod spec;
#[cfg(test)]
mod stochastic;
mod supervised;
#[cfg(test)]
mod toy;
mod validation;
pub mod wav2vec2_contrastive;

pub use autoregressive::{Autoregressive, next_token_loss};
pub use cosent::{Cosent, SimilarityLoss};
pub use cross_encoder::CrossEncoder;
pub use denoising::{Denoiser, DenoiserKind, DenoiserSet, Denoising, SpanNoise};
pub use diffusion::{Diffusion, Prediction};
pub use dpo::Dpo;
pub use grpo::{Grpo, Reward};
pub use info_nce::{InfoNce, Views};
pub use masked::{Masked, MaskedKind, MaskedTokens, RatioDecay};
pub use mixture::{Mixture, MixturePart};
pub use objective::{Drawn, NAMES, Objective};
pub use permuted_lm::PermutedLm;
pub use pretext::Pretext;
pub use replaced_token_detection::ReplacedTokenDetection;
pub use retromae::{Retromae, RetromaeDecoder, RetromaeTask};
pub use reward_weighted::{Awr, RewardWeighted, Unlikelihood};
pub use self_distillation::SelfDistillation;
pub use spans::Spans;
pub use spec::{ObjectiveError, ObjectiveSpec, RefusedObjective};
pub use supervised::Supervised;
pub use validation::Validation;
pub use wav2vec2_contrastive::{Gumbel, Wav2vec2Contrastive};

/// The weight of what has none of its own.
fn one() -> f64 {
    1.0
}
