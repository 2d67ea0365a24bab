//! Positions that a grouped convolution over the tokens tells, as in wav2vec 2.0,
//! <https://arxiv.org/abs/2006.11477>, its kernel normalised (<https://arxiv.org/abs/1602.07868>).

use crate::{Activation, ConfigError, Conv1dConfig};
use burn::{
    module::{Initializer, Module, Param},
    tensor::Tensor,
};
use kiln_core::Backend;
use kiln_kernels::{Conv1dOptions, conv1d};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Positions that a grouped convolution tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PositionalConvConfig {
    /// Tokens that the convolution sees.
    pub kernel: usize,
    /// Groups of features that do not see each other; they divide the width.
    pub groups: usize,
    /// After the convolution.
    pub activation: Activation,
}

impl Default for PositionalConvConfig {
    /// The published one.
    fn default() -> Self {
        Self { kernel: 128, groups: 16, activation: Activation::Gelu }
    }
}

impl PositionalConvConfig {
    /// Checks the settings for tokens of `width` features.
    ///
    /// # Errors
    /// When the kernel is zero or the groups do not divide the width.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        let conv = Conv1dConfig::new(width, width, self.kernel);
        Conv1dConfig { groups: self.groups, ..conv }.validate()
    }

    /// Normal weights with a variance of four over kernel and width, as published.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> PositionalConv<B> {
        let deviation = 2.0 / ((self.kernel * width).max(1) as f64).sqrt();
        let normal = Initializer::Normal { mean: 0.0, std: deviation };
        let shape = [width, width / self.groups.max(1), self.kernel];
        let weight: Param<Tensor<B, 3>> = normal.init(shape, device);
        PositionalConv {
            weight_g: Param::from_tensor(length(weight.val()).detach()),
            weight_v: weight,
            bias: Initializer::Zeros.init([width], device),
            groups: self.groups,
            activation: self.activation,
        }
    }
}

/// Positions that a grouped convolution over the tokens tells.
#[derive(Module, Debug)]
pub struct PositionalConv<B: Backend> {
    /// `[1, 1, kernel]`, the length of each tap.
    pub weight_g: Param<Tensor<B, 3>>,
    /// `[width, width / groups, kernel]`, the direction of each tap.
    pub weight_v: Param<Tensor<B, 3>>,
    /// `[width]`
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    #[module(skip)]
    activation: Activation,
}

impl<B: Backend> PositionalConv<B> {
    /// `[batch, tokens, width]` to the same shape: what is to be added to the tokens.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = self.weight();
        let [_, _, kernel] = weight.dims();
        let options = Conv1dOptions {
            // An even kernel sees one token more before than after.
            padding: [kernel / 2, (kernel - 1) / 2],
            groups: self.groups,
            gelu: self.activation == Activation::Gelu,
            ..Conv1dOptions::default()
        };
        let out = conv1d(x, weight, Some(self.bias.val()), options);
        if options.gelu { out } else { self.activation.forward(out) }
    }

    /// `[width, width / groups, kernel]`
    fn weight(&self) -> Tensor<B, 3> {
        let direction = self.weight_v.val();
        let scale = self.weight_g.val() / length(direction.clone());
        direction * scale
    }
}

/// The length of each tap, `[1, 1, kernel]`.
fn length<B: Backend>(weight: Tensor<B, 3>) -> Tensor<B, 3> {
    weight.square().sum_dim(0).sum_dim(1).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn by_hand() {
        let device = Default::default();
        let config =
            PositionalConvConfig { kernel: 2, groups: 1, activation: Activation::Identity };
        config.validate(1).unwrap();
        let mut conv = config.init::<Flex>(1, &device);
        conv.weight_v = Param::from_data([[[-4.0, 9.0]]], &device);
        conv.weight_g = Param::from_data([[[2.0, 3.0]]], &device);
        conv.bias = Param::from_data([0.5], &device);
        // Taps of -2 on the token before and 3 on the token itself.
        let x = Tensor::from_floats([[[1.0], [10.0], [100.0]]], &device);
        let out: Vec<f32> = conv.forward(x).into_data().to_vec().unwrap();
        assert_eq!(out, [3.5, 28.5, 280.5]);
    }

    #[test]
    fn any_kernel_keeps_the_tokens_and_starts_at_its_own_length() {
        let device = Default::default();
        for kernel in [1, 3, 8] {
            let config = PositionalConvConfig { kernel, groups: 2, ..Default::default() };
            let conv = config.init::<Flex>(4, &device);
            assert_eq!(conv.forward(Tensor::ones([2, 5, 4], &device)).dims(), [2, 5, 4]);
            let difference = (conv.weight() - conv.weight_v.val()).abs().max().into_scalar();
            assert!(difference < 1e-6);
        }
        // Under autodiff both parts are leaves.
        let config = PositionalConvConfig { groups: 2, ..Default::default() };
        config.init::<burn::backend::Autodiff<Flex>>(4, &device);
        let config = PositionalConvConfig { groups: 3, ..Default::default() };
        assert_eq!(config.validate(4).unwrap_err().key, "groups");
    }
}
