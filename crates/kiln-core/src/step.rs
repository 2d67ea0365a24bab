//! What a step hands to its objective.

use crate::{Rng, Seed};

/// What a step hands to its objective.
#[derive(Debug)]
pub struct StepContext<'a> {
    /// Random numbers of this micro-batch alone.
    pub rng: &'a mut Rng,
    /// Whether training diagnostics are wanted: they cost a little, so not every step asks.
    pub collect_metrics: bool,
    /// The step of the stage, from 0, for schedules.
    pub step: u64,
    /// The seed of the step, the same for all its micro-batches.
    pub step_seed: Seed,
}

impl<'a> StepContext<'a> {
    /// The first step, without diagnostics.
    pub fn new(rng: &'a mut Rng) -> Self {
        Self { rng, collect_metrics: false, step: 0, step_seed: Seed::new(0) }
    }
}

/// A model that an objective learns from beside the batch; it gets no gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Teacher {
    /// The model under training with weights averaged over its steps, with this decay (data2vec,
    /// DINO, BYOL).
    Average(f64),
    /// The reference model: the model as the stage began (DPO, GRPO).
    ReferenceModel,
}
