//! Convolutions over frames, channels last: `[batch, frames, channels]`.

use crate::ConfigError;
use burn::{
    module::{Initializer, Module, Param},
    tensor::Tensor,
};
use kiln_core::Backend;
use kiln_kernels::{Conv1dOptions, GroupNormOptions, conv1d, group_norm};

/// A convolution over frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dConfig {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Frames that an output sees.
    pub kernel: usize,
    /// Frames from one output to the next.
    pub stride: usize,
    /// Frames of zeros at either end.
    pub padding: usize,
    /// Channels are cut in so many groups that do not see each other.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Conv1dConfig {
    /// Of stride 1, without padding, in one group, with a bias.
    pub fn new(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: 0, groups: 1, bias: true }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero or the groups do not divide the channels.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("inputs", self.inputs)?;
        ConfigError::positive("outputs", self.outputs)?;
        ConfigError::positive("kernel", self.kernel)?;
        ConfigError::positive("stride", self.stride)?;
        divides(self.groups, self.inputs)?;
        divides(self.groups, self.outputs)
    }

    /// Weights and bias uniform within one over the root of the inputs an output has, as PyTorch
    /// has them.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Conv1d<B> {
        let inputs = self.inputs / self.groups.max(1);
        let bound = 1.0 / ((inputs * self.kernel).max(1) as f64).sqrt();
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        Conv1d {
            weight: uniform.init([self.outputs, inputs, self.kernel], device),
            bias: self.bias.then(|| uniform.init([self.outputs], device)),
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
        }
    }
}

fn divides(groups: usize, channels: usize) -> Result<(), ConfigError> {
    if groups > 0 && channels.is_multiple_of(groups) {
        return Ok(());
    }
    Err(ConfigError::new("groups", groups, format!("a divisor of the {channels} channels")))
}

/// A convolution over frames.
#[derive(Module, Debug)]
pub struct Conv1d<B: Backend> {
    /// `[outputs, inputs / groups, kernel]`
    pub weight: Param<Tensor<B, 3>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    stride: usize,
    padding: usize,
    groups: usize,
}

impl<B: Backend> Conv1d<B> {
    /// `[batch, frames, inputs]` to `[batch, (frames + 2 padding - kernel) / stride + 1, outputs]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.call(x, false)
    }

    /// The same with GELU on the way.
    pub fn forward_gelu(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.call(x, true)
    }

    fn call(&self, x: Tensor<B, 3>, gelu: bool) -> Tensor<B, 3> {
        let options = Conv1dOptions {
            stride: self.stride,
            padding: [self.padding; 2],
            groups: self.groups,
            gelu,
            ..Conv1dOptions::default()
        };
        conv1d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options)
    }
}

/// A norm over the frames of a group of channels, <https://arxiv.org/abs/1803.08494>.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormConfig {
    /// Channels in and out.
    pub channels: usize,
    /// Groups that they are cut in; as many as channels for a norm of each channel by itself.
    pub groups: usize,
    /// Keeps the division finite.
    pub epsilon: f64,
}

impl GroupNormConfig {
    /// With an epsilon of 1e-5.
    pub fn new(channels: usize, groups: usize) -> Self {
        Self { channels, groups, epsilon: 1e-5 }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When the groups do not divide the channels or epsilon is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(ConfigError::new("epsilon", self.epsilon, "a positive number"));
        }
        divides(self.groups, self.channels)
    }

    /// A norm that starts as the identity after standardisation.
    pub fn init<B: Backend>(&self, device: &B::Device) -> GroupNorm<B> {
        GroupNorm {
            weight: Initializer::Ones.init([self.channels], device),
            bias: Initializer::Zeros.init([self.channels], device),
            groups: self.groups,
            epsilon: self.epsilon,
        }
    }
}

/// A norm over the frames of a group of channels.
#[derive(Module, Debug)]
pub struct GroupNorm<B: Backend> {
    /// `[channels]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[channels]`
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    epsilon: f64,
}

impl<B: Backend> GroupNorm<B> {
    /// `[batch, frames, channels]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.call(x, false)
    }

    /// The same with GELU on the way.
    pub fn forward_gelu(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.call(x, true)
    }

    fn call(&self, x: Tensor<B, 3>, gelu: bool) -> Tensor<B, 3> {
        let options = GroupNormOptions { groups: self.groups, epsilon: self.epsilon, gelu };
        group_norm(x, self.weight.val(), self.bias.val(), options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn convolution_by_hand() {
        let device = Default::default();
        let config = Conv1dConfig { padding: 1, groups: 2, ..Conv1dConfig::new(2, 2, 2) };
        config.validate().unwrap();
        let mut conv = config.init::<Flex>(&device);
        conv.weight = Param::from_data([[[1.0, 2.0]], [[-1.0, 0.0]]], &device);
        conv.bias = Some(Param::from_data([0.0, 0.5], &device));
        let x = Tensor::from_floats([[[1.0, 10.0], [3.0, 20.0]]], &device);
        // Channel 0: 2·1, 1 + 2·3, 3; channel 1: 0, -10, -20, each half more.
        assert_eq!(values(conv.forward(x)), [2.0, 0.5, 7.0, -9.5, 3.0, -19.5]);
    }

    #[test]
    fn group_norm_by_hand() {
        let device = Default::default();
        let x = || Tensor::<Flex, 3>::from_floats([[[1.0, 5.0], [3.0, 5.0]]], &device);
        let config = GroupNormConfig { epsilon: 1e-9, ..GroupNormConfig::new(2, 2) };
        config.validate().unwrap();
        // Each channel by itself: the second is constant.
        assert_eq!(values(config.init(&device).forward(x())), [-1.0, 0.0, 1.0, 0.0]);
        // Both together: mean 3.5, variance (6.25 + 2.25 + 0.25 + 2.25) / 4.
        let both = GroupNormConfig { groups: 1, ..config }.init(&device).forward(x());
        let root = 2.75_f32.sqrt();
        for (found, expected) in values(both).iter().zip([-2.5, 1.5, -0.5, 1.5]) {
            assert!((found - expected / root).abs() < 1e-6);
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        let config = Conv1dConfig { groups: 3, ..Conv1dConfig::new(6, 4, 1) };
        assert_eq!(config.validate().unwrap_err().key, "groups");
        assert_eq!(GroupNormConfig::new(4, 0).validate().unwrap_err().key, "groups");
    }
}
