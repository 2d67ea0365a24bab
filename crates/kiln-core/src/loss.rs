//! What an objective returns: a loss, how many positions it counted, and training diagnostics.

use crate::Tokens;
use burn::tensor::{Tensor, backend::Backend};

/// A training diagnostic: a number that shows whether a model is learning.
///
/// The trainer knows what to make of each: see `kiln_train::diagnostics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Diagnostic {
    /// Baseline loss: what a constant prediction would score on this batch, such as the mean or the
    /// frequencies of classes. A loss that stays there has learned nothing.
    BaselineLoss,
    /// The standard deviation of pooled representations across the batch, averaged over their
    /// width and divided by their root mean square. Near zero, all inputs look alike: collapse.
    RepresentationStd,
    /// The share, 0 to 1, of the last hidden units that hardly vary over the batch.
    DeadUnits,
    /// The share, 0 to 1, of predictions that are right.
    Accuracy,
    /// The share, 0 to 1, that chance would get right.
    ChanceAccuracy,
    /// The contrastive part of a loss, without what regularises the quantizer.
    ContrastiveLoss,
    /// The perplexity of a quantizer's codebooks, summed over its groups: how many codes are in use.
    CodebookPerplexity,
    /// What [`Self::CodebookPerplexity`] is after a collapse, with one code in use a group: the
    /// number of groups.
    CollapsedPerplexity,
    /// The share, 0 to 1, of tokens that were masked.
    MaskedShare,
}

impl Diagnostic {
    /// The name in `metrics.jsonl`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BaselineLoss => "baseline_loss",
            Self::RepresentationStd => "representation_std",
            Self::DeadUnits => "dead_units",
            Self::Accuracy => "accuracy",
            Self::ChanceAccuracy => "chance_accuracy",
            Self::ContrastiveLoss => "contrastive_loss",
            Self::CodebookPerplexity => "codebook_perplexity",
            Self::CollapsedPerplexity => "collapsed_perplexity",
            Self::MaskedShare => "masked_share",
        }
    }
}

/// A diagnostic that was read on the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiagnosticValue {
    /// Which one.
    pub diagnostic: Diagnostic,
    /// Its value.
    pub value: f64,
}

/// The outcome of an objective on one batch.
#[derive(Clone, Debug)]
pub struct Loss<B: Backend> {
    /// `[1]`, the mean over the positions counted. Ignored positions are in neither numerator nor
    /// denominator.
    pub value: Tensor<B, 1>,
    /// How many positions were counted: tokens, values or examples. Zero when nothing could be
    /// scored; then `value` is zero.
    pub count: usize,
    /// Training diagnostics, `[1]` each; empty unless the step asked for them.
    pub diagnostics: Vec<(Diagnostic, Tensor<B, 1>)>,
}

/// The loss of a model's own task, and the tokens that its head was given: training diagnostics look at them.
#[derive(Clone, Debug)]
pub struct TaskLoss<B: Backend> {
    /// The loss.
    pub loss: Loss<B>,
    /// `[batch, tokens, width]`, those that carry targets; `None` where nothing was computed.
    pub tokens: Option<Tokens<B>>,
}

impl<B: Backend> TaskLoss<B> {
    /// Of a batch that the task has nothing to say of.
    pub fn empty(device: &B::Device) -> Self {
        Self { loss: Loss::empty(device), tokens: None }
    }
}

/// The mean of losses over all that they count, on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossMean {
    sum: f64,
    count: usize,
}

impl LossMean {
    /// Takes in a loss; waits for its value.
    pub fn add<B: Backend>(&mut self, loss: &Loss<B>) {
        let value = loss.value.clone().into_data();
        let value: f64 = value.iter::<f64>().next().unwrap_or(f64::NAN);
        self.sum += value * loss.count as f64;
        self.count += loss.count;
    }

    /// How many positions were counted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The sum over them.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The mean over them; `None` where there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl<B: Backend> Loss<B> {
    /// Of a batch in which nothing can be scored.
    pub fn empty(device: &B::Device) -> Self {
        Self::new(Tensor::zeros([1], device), 0)
    }

    /// A loss without diagnostics.
    pub fn new(value: Tensor<B, 1>, count: usize) -> Self {
        Self { value, count, diagnostics: Vec::new() }
    }

    /// Adds a training diagnostic.
    pub fn with_diagnostic(mut self, diagnostic: Diagnostic, value: Tensor<B, 1>) -> Self {
        self.diagnostics.push((diagnostic, value));
        self
    }
}
