//! Optimizers and their settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The optimizer and its settings. Norms, biases and other vectors are never decayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay, <https://arxiv.org/abs/1711.05101>.
    Adamw(AdamW),
    /// The sign of a momentum, <https://arxiv.org/abs/2302.06675>.
    Lion(Lion),
    /// Orthogonalised momentum for matrices, AdamW for the rest,
    /// <https://kellerjordan.github.io/posts/muon/>.
    Muon(Muon),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Squared means of rows and columns in the place of those of all weights: little memory,
    /// <https://arxiv.org/abs/1804.04235>.
    Adafactor(Adafactor),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adamw(AdamW::default())
    }
}

impl Optimizer {
    /// The highest learning rate of the schedule.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adamw(adamw) => adamw.learning_rate,
            Self::Lion(lion) => lion.learning_rate,
            Self::Muon(muon) => muon.learning_rate,
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Adafactor(adafactor) => adafactor.learning_rate,
        }
    }
}

/// Settings of AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Decay of the weights a step, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the mean and of the squared mean of gradients.
    pub betas: [f64; 2],
    /// Keeps the division finite.
    pub epsilon: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { learning_rate: 1e-3, weight_decay: 0.01, betas: [0.9, 0.999], epsilon: 1e-8 }
    }
}

/// Settings of Lion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lion {
    /// The highest learning rate of the schedule; a tenth to a third of AdamW's.
    pub learning_rate: f64,
    /// Decay of the weights a step, times the learning rate.
    pub weight_decay: f64,
    /// Weight of the old momentum in the update, and in the new momentum.
    pub betas: [f64; 2],
}

impl Default for Lion {
    fn default() -> Self {
        Self { learning_rate: 1e-4, weight_decay: 0.1, betas: [0.9, 0.99] }
    }
}

/// Settings of Muon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Muon {
    /// The highest learning rate of the schedule, for matrices.
    pub learning_rate: f64,
    /// Decay of the weights a step, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the momentum.
    pub momentum: f64,
    /// AdamW's learning rate for everything that is no matrix, as a share of Muon's.
    pub adamw_share: f64,
}

impl Default for Muon {
    fn default() -> Self {
        Self { learning_rate: 0.02, weight_decay: 0.01, momentum: 0.95, adamw_share: 0.05 }
    }
}

/// Settings of SGD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Decay of the weights a step, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the momentum; 0 for none.
    pub momentum: f64,
    /// Nesterov's variant of the momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.1, weight_decay: 0.0, momentum: 0.9, nesterov: false }
    }
}

/// Settings of Adafactor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adafactor {
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Whether the rate is a share of the size (root mean square) of a parameter's weights.
    pub relative: bool,
    /// Decay of the weights a step, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the mean of updates; 0 for none, which takes no memory.
    pub momentum: f64,
    /// The share t^-decay of the squared mean of gradients is new at step t.
    pub decay: f64,
    /// Updates whose root mean square exceeds this are scaled down to it.
    pub threshold: f64,
    /// Added to squared gradients, and the least size of weights that relative rates are taken of.
    pub epsilons: [f64; 2],
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            learning_rate: 1e-2,
            relative: true,
            weight_decay: 0.0,
            momentum: 0.0,
            decay: 0.8,
            threshold: 1.0,
            epsilons: [1e-30, 1e-3],
        }
    }
}
