//! What each block reads of all that blocks before it gave.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, TensorData, activation::softmax},
};
use kiln_core::Backend;

/// Learnt weights of what enters a stack and of what its blocks give, for each block:
/// <https://arxiv.org/abs/2311.02265>.
#[derive(Module, Debug)]
pub struct LayerInputs<B: Backend> {
    /// Before a softmax, `[layers, layers]`: block `n` reads what entered and what the `n` blocks
    /// before it gave.
    pub weight: Param<Tensor<B, 2>>,
}

/// How much more the last block counts than all before it, at the start.
const LAST: f32 = 3.0;

impl<B: Backend> LayerInputs<B> {
    pub(super) fn new(layers: usize, device: &B::Device) -> Self {
        let weight = |at: usize| if at / layers == at % layers { LAST } else { 0.0 };
        let weights: Vec<f32> = (0..layers * layers).map(weight).collect();
        let weights = Tensor::from_data(TensorData::new(weights, [layers, layers]), device);
        Self { weight: Param::from_tensor(weights) }
    }

    /// What block `number` reads of what entered and of what the blocks before it gave,
    /// `[batch, tokens, width]` each.
    pub(super) fn read(&self, number: usize, given: &[Tensor<B, 3>]) -> Tensor<B, 3> {
        let row = self.weight.val().narrow(0, number, 1).narrow(1, 0, given.len());
        let weights = softmax(row, 1);
        let weight = |at: usize| weights.clone().narrow(1, at, 1).reshape([1, 1, 1]);
        let parts = given.iter().enumerate().map(|(at, x)| x.clone() * weight(at));
        // There is always what entered.
        parts.reduce(|sum, x| sum + x).unwrap_or_else(|| weights.unsqueeze())
    }
}
