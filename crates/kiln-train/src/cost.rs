//! What training costs, from configurations alone.

use crate::recipe::{Optimizer, Parts, Stage};

/// Values that a block keeps of each feature of a token for its backward step: inputs of norms,
/// products, activations and dropouts.
pub const KEPT_A_FEATURE: f64 = 16.0;

/// Bytes of weights, gradients, optimizer state and `kept` values of activations, an estimate.
pub fn step_memory<P: Parts>(
    stage: &Stage<P>,
    parameters: usize,
    trainable: usize,
    kept: f64,
) -> f64 {
    let states = match &stage.optimizer {
        Optimizer::Adamw(_) => 2.0,
        Optimizer::Lion(_) | Optimizer::Muon(_) | Optimizer::Sgd(_) => 1.0,
    };
    let averages = if stage.ema.is_some() { 1.0 } else { 0.0 };
    4.0 * (parameters as f64 + trainable as f64 * (1.0 + states + averages) + kept)
}
