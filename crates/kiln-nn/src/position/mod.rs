//! Position encodings: fixed ones that are added to tokens, and those within attention.

mod relative;
mod rotary;
mod sinusoids;

pub use relative::{RelativeBias, RelativeConfig};
pub use rotary::{Llama3Scaling, RotaryConfig, RotaryScaling, Rotation, YarnScaling};
pub use sinusoids::{sinusoid_halves, sinusoids};

use burn::tensor::{Int, Tensor};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Position encoding within attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PositionConfig {
    /// RoPE: queries and keys are rotated by an angle that grows with the position,
    /// <https://arxiv.org/abs/2104.09864>.
    Rotary(RotaryConfig),
    /// ALiBi: scores fall with the distance, at a slope of each head's own,
    /// <https://arxiv.org/abs/2108.12409>.
    Alibi,
    /// Relative position bias: a learned score for each range of distances and head, the same in all
    /// blocks: T5
    /// (<https://arxiv.org/abs/1910.10683>), MPNet.
    Relative(RelativeConfig),
}

/// Position ids, where they are not just the tokens' places: with padding on the left, or
/// several documents in a row.
#[derive(Debug, Clone)]
pub struct Positions<B: Backend> {
    /// `[batch, tokens]`
    pub ids: Tensor<B, 2, Int>,
    /// More than the greatest of them.
    pub count: usize,
    /// Whether neighbours may stand anywhere, so that how far it is from one token to another does
    /// not follow from their places, as it does in a text with padding, or in documents in a row.
    pub arranged: bool,
}

impl<B: Backend> Positions<B> {
    /// How far ahead of each token each other stands, `[batch, tokens, tokens]`: below zero where it
    /// stands before.
    pub(crate) fn ahead(&self) -> Tensor<B, 3, Int> {
        self.ids.clone().unsqueeze_dim::<3>(1) - self.ids.clone().unsqueeze_dim(2)
    }
}
