//! What each block reads of all that blocks before it gave: every layer counts,
//! <https://arxiv.org/abs/2311.02265>.
//!
//! No stream runs past the blocks: each reads a mean of what entered and of what the blocks before
//! it gave, with weights of its own, a softmax of what is learned. In the paper's blocks attention
//! ends with a second norm and the feed-forward has one inside; ours have neither.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor, TensorData, activation::softmax},
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How blocks read what those before them gave: the paper's four models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EveryLayer {
    /// At first what was given last counts more. A block's feed-forward reads what its attention
    /// gave, and nothing else.
    Biased,
    /// At first all count alike. The feed-forward reads what the attention read and what it gave.
    Zero,
    /// As `zero`, and what a block gives is standardised.
    Normalized,
    /// As `zero`, and what leaves the last block is such a mean, too.
    WeightedOutput,
}

/// The weights of what blocks read.
#[derive(Module, Debug)]
pub struct LayerInputs<B: Backend> {
    /// Before a softmax, for each block: `[1 + blocks before it]`, of what entered and of what they
    /// gave. Once more for what leaves, where that is a mean.
    pub weights: Vec<Param<Tensor<B, 1>>>,
    normalized: bool,
}

/// Keeps the division by a deviation finite.
const EPSILON: f64 = 1e-5;

impl<B: Backend> LayerInputs<B> {
    pub(super) fn new(kind: EveryLayer, layers: usize, device: &B::Device) -> Self {
        let last = if kind == EveryLayer::Biased { 1.0 } else { 0.0 };
        let weights = |before: usize| {
            let mut weights = vec![0f32; before];
            weights.push(last);
            let weights = TensorData::new(weights, [before + 1]);
            Param::from_tensor(Tensor::from_data(weights, device))
        };
        let means = layers + usize::from(kind == EveryLayer::WeightedOutput);
        Self {
            weights: (0..means).map(weights).collect(),
            normalized: kind == EveryLayer::Normalized,
        }
    }

    /// What is read after `x`, which joins what was `given` before it, `[batch, tokens, width]`
    /// each. What leaves is `x` itself, unless it is a mean.
    pub(super) fn read(&self, given: &mut Vec<Tensor<B, 3>>, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let Some(weights) = self.weights.get(given.len()) else { return x };
        let weights = softmax(weights.val(), 0).cast(FloatDType::from(x.dtype()));
        let weight = |at: usize| weights.clone().narrow(0, at, 1).reshape([1, 1, 1]);
        let last = x.clone() * weight(given.len());
        let parts = given.iter().enumerate().map(|(at, x)| x.clone() * weight(at));
        let mean = parts.fold(last, |sum, part| sum + part);
        given.push(x);
        mean
    }

    /// What a block gives, `[batch, tokens, width]`, as later ones see it.
    pub(super) fn give(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        if !self.normalized {
            return x;
        }
        let [.., width] = x.dims();
        let ones = Tensor::ones([width], &x.device());
        kiln_kernels::layer_norm(x, ones, None, EPSILON)
    }
}
