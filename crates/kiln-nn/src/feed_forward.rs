//! Two linear layers with an activation between them, and the gated kind,
//! <https://arxiv.org/abs/2002.05202>.

use crate::{
    Activation, ConfigError, Dropout, Linear, LinearConfig,
    adapt::{Adapt, BranchAdapters, Place, Walk},
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::Backend;
use kiln_kernels::{activate, gated};

/// A feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedForwardConfig {
    /// Features in and out.
    pub width: usize,
    /// Features between.
    pub hidden: usize,
    /// Between the layers.
    pub activation: Activation,
    /// The share dropped after the activation while training.
    pub dropout: f64,
    /// The share dropped of the output while training.
    pub output_dropout: f64,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Whether a third layer is multiplied with what is activated.
    pub gated: bool,
}

impl FeedForwardConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero or a dropout out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("hidden", self.hidden)?;
        ConfigError::dropout("dropout", self.dropout)?;
        ConfigError::dropout("dropout", self.output_dropout)
    }

    /// A block with random weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> FeedForward<B> {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(self.bias).init(device);
        FeedForward {
            hidden: linear(self.width, self.hidden),
            gate: self.gated.then(|| linear(self.width, self.hidden)),
            output: linear(self.hidden, self.width),
            dropout: Dropout::new(self.dropout),
            output_dropout: Dropout::new(self.output_dropout),
            activation: self.activation,
            adapters: BranchAdapters::none(),
        }
    }
}

/// Two linear layers with an activation between them, over the last dimension.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// From the width to the hidden features, which are activated.
    pub hidden: Linear<B>,
    /// From the width to what they are multiplied with.
    pub gate: Option<Linear<B>>,
    /// Back to the width.
    pub output: Linear<B>,
    dropout: Dropout,
    output_dropout: Dropout,
    #[module(skip)]
    activation: Activation,
    /// Beside and after the block, where it is adapted so.
    pub adapters: BranchAdapters<B>,
}

impl<B: Backend> FeedForward<B> {
    /// `[batch, tokens, width]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let kept = self.adapters.keep(&x);
        let out = self.output_dropout.forward(self.output.forward(self.activated(x)));
        self.adapters.forward(kept, out)
    }

    /// The same, added to `residual`, `[batch, tokens, width]`, on the way.
    pub fn forward_onto(&self, x: Tensor<B, 3>, residual: Tensor<B, 3>) -> Tensor<B, 3> {
        if !self.adapters.is_empty() {
            return residual + self.forward(x);
        }
        let hidden = self.activated(x);
        if self.output_dropout.is_active::<B>(&residual.device()) {
            self.output_dropout.forward_onto(self.output.forward(hidden), residual)
        } else {
            self.output.forward_onto(hidden, residual)
        }
    }

    /// Over the tokens, whose number is the block's width: `[batch, tokens, width]` to the same
    /// shape.
    pub fn forward_tokens(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let kept = self.adapters.keep(&x);
        let hidden = activate(self.hidden.forward_tokens(x), None, self.activation);
        let out = self.output.forward_tokens(self.dropout.forward(hidden));
        let out = self.output_dropout.forward(out);
        if self.adapters.is_empty() {
            return out;
        }
        let turn = |x: Tensor<B, 3>| x.swap_dims(1, 2);
        turn(self.adapters.forward(kept.map(turn), turn(out)))
    }

    /// The hidden features; the bias is added where the activation is applied.
    fn activated(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let hidden = match &self.gate {
            Some(gate) => gated(Linear::forward_packed(&[&self.hidden, gate], x), self.activation),
            None => {
                let (hidden, bias) = self.hidden.forward_apart(x);
                activate(hidden, bias, self.activation)
            }
        };
        self.dropout.forward(hidden)
    }
}

impl<B: Backend> Adapt<B> for FeedForward<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.show(Place::FeedForward(self));
        walk.enter("hidden", &mut self.hidden);
        walk.enter("gate", &mut self.gate);
        walk.enter("output", &mut self.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn_flex::Flex;

    #[test]
    fn by_hand() {
        let device = Default::default();
        let config = FeedForwardConfig {
            width: 1,
            hidden: 2,
            activation: Activation::Relu,
            dropout: 0.0,
            output_dropout: 0.0,
            bias: true,
            gated: false,
        };
        config.validate().unwrap();
        let mut block = config.init::<Flex>(&device);
        block.hidden.weight = Param::from_data([[1.0, -1.0]], &device);
        block.hidden.bias = Some(Param::from_data([0.0, 1.0], &device));
        block.output.weight = Param::from_data([[2.0], [3.0]], &device);
        block.output.bias = Some(Param::from_data([0.5], &device));
        // x = 2: relu(2, -1) = (2, 0), so 2*2 + 0.5.
        let out = block.forward(Tensor::from_floats([[[2.0]]], &device));
        assert_eq!(out.into_scalar(), 4.5);
    }

    #[test]
    fn gates_multiply_what_is_activated() {
        let device = Default::default();
        let config = FeedForwardConfig {
            width: 1,
            hidden: 1,
            activation: Activation::Relu,
            dropout: 0.0,
            output_dropout: 0.0,
            bias: false,
            gated: true,
        };
        let mut block = config.init::<Flex>(&device);
        block.hidden.weight = Param::from_data([[2.0]], &device);
        block.gate.as_mut().unwrap().weight = Param::from_data([[-3.0]], &device);
        block.output.weight = Param::from_data([[0.5]], &device);
        // x = 2: relu(4) * -6 / 2.
        let out = block.forward(Tensor::from_floats([[[2.0]]], &device));
        assert_eq!(out.into_scalar(), -12.0);
    }
}
