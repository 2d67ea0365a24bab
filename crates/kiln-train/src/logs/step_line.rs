//! A `step` line of `metrics.jsonl`.

/// The numbers of a `step` line: means since the line before, except for rate and memory.
#[derive(Clone, Debug, Default)]
pub struct StepLine {
    /// The loss.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// The share of steps that were clipped.
    pub clipped_share: f64,
    /// Steps of the stage that were skipped so far.
    pub bad_steps: u64,
    /// Training examples a second.
    pub examples_per_s: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// The share of the time that went into waiting for data.
    pub wait_share: f64,
    /// Training diagnostics by name.
    pub diagnostics: Vec<(&'static str, f64)>,
}
