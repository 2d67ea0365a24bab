//! A linear layer over the last dimension.

use crate::adapt::{Adapt, Ia3, Lora, Place, Walk};
use burn::{
    module::{Initializer, Module, Param},
    tensor::Tensor,
};
use kiln_core::Backend;

/// The sizes of a [`Linear`].
#[derive(Debug, Clone, PartialEq)]
pub struct LinearConfig {
    inputs: usize,
    outputs: usize,
    bias: bool,
}

impl LinearConfig {
    /// From `inputs` to `outputs` features, with a bias.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, bias: true }
    }

    /// With a bias or without.
    pub fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Weights and bias uniform within one over the root of the inputs, as PyTorch has them.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        let bound = 1.0 / (self.inputs.max(1) as f64).sqrt();
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        Linear {
            weight: uniform.init([self.inputs, self.outputs], device),
            bias: self.bias.then(|| uniform.init([self.outputs], device)),
            lora: None,
            ia3: None,
        }
    }
}

/// `x · weight + bias` over the last dimension.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<B, 2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// A low-rank update, where the layer is adapted so.
    pub lora: Option<Lora<B>>,
    /// Factors of its inputs or outputs, where it is adapted so.
    pub ia3: Option<Ia3<B>>,
}

impl<B: Backend> Linear<B> {
    /// `[.., inputs]` to `[.., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        if self.is_adapted() {
            return self.adapted(x);
        }
        kiln_kernels::linear(x, self.weight.val(), self.bias(), None)
    }

    /// The same, added to `residual`, `[.., outputs]`, on the way.
    pub fn forward_onto<const D: usize>(
        &self,
        x: Tensor<B, D>,
        residual: Tensor<B, D>,
    ) -> Tensor<B, D> {
        if self.is_adapted() {
            return residual + self.adapted(x);
        }
        kiln_kernels::linear(x, self.weight.val(), self.bias(), Some(residual))
    }

    /// Over the tokens: `[batch, inputs, width]` to `[batch, outputs, width]`.
    pub fn forward_tokens(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        if self.is_adapted() {
            return self.adapted(x.swap_dims(1, 2)).swap_dims(1, 2);
        }
        kiln_kernels::linear_tokens(x, self.weight.val(), self.bias())
    }

    /// The same as [`Self::forward`], but what is still to be added to the result, `[outputs]`, is
    /// given apart: for an activation that adds it.
    pub fn forward_apart<const D: usize>(
        &self,
        x: Tensor<B, D>,
    ) -> (Tensor<B, D>, Option<Tensor<B, 1>>) {
        if self.is_adapted() {
            return (self.adapted(x), None);
        }
        (kiln_kernels::linear(x, self.weight.val(), None, None), self.bias())
    }

    /// Several layers on one input, their outputs side by side: `[.., inputs]` to
    /// `[.., sum of outputs]`.
    pub fn forward_packed<const D: usize>(layers: &[&Self], x: Tensor<B, D>) -> Tensor<B, D> {
        if layers.iter().any(|layer| layer.is_adapted()) {
            let each = layers.iter().map(|layer| layer.forward(x.clone()));
            return Tensor::cat(each.collect(), D - 1);
        }
        let mut tensors: Vec<_> = layers.iter().map(|layer| layer.tensors()).collect();
        // One packed product has biases everywhere or nowhere.
        if tensors.iter().any(|(_, bias)| bias.is_some()) {
            for (weight, bias) in &mut tensors {
                bias.get_or_insert_with(|| Tensor::zeros([weight.dims()[1]], &weight.device()));
            }
        }
        kiln_kernels::linear_packed(x, tensors)
    }

    /// Weight and bias of the layer itself, for kernels that do more than its product.
    pub fn tensors(&self) -> (Tensor<B, 2>, Option<Tensor<B, 1>>) {
        (self.weight.val(), self.bias())
    }

    fn bias(&self) -> Option<Tensor<B, 1>> {
        self.bias.as_ref().map(Param::val)
    }

    fn is_adapted(&self) -> bool {
        self.lora.is_some() || self.ia3.is_some()
    }
}

impl<B: Backend> Adapt<B> for Linear<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.show(Place::Linear(self));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn any_rank() {
        let device = Default::default();
        let mut linear = LinearConfig::new(2, 1).init::<Flex>(&device);
        linear.weight = Param::from_data([[2.0], [3.0]], &device);
        linear.bias = Some(Param::from_data([0.5], &device));
        let x = Tensor::<Flex, 3>::from_floats([[[1.0, 1.0]], [[0.0, 2.0]]], &device);
        let out: Vec<f32> = linear.forward(x).into_data().to_vec().unwrap();
        assert_eq!(out, [5.5, 6.5]);
        let x = Tensor::<Flex, 3>::from_floats([[[1.0, 0.0], [1.0, 2.0]]], &device);
        let out: Vec<f32> = linear.forward_tokens(x).into_data().to_vec().unwrap();
        assert_eq!(out, [5.5, 6.5]);
        let row = linear.forward(Tensor::<Flex, 1>::from_floats([1.0, 0.0], &device));
        assert_eq!(row.into_scalar(), 2.5);
    }

    #[test]
    fn starts_within_its_bound() {
        let linear = LinearConfig::new(16, 64).with_bias(false).init::<Flex>(&Default::default());
        let weights: Vec<f32> = linear.weight.val().into_data().to_vec().unwrap();
        assert!(linear.bias.is_none() && weights.iter().all(|w| w.abs() <= 0.25));
        assert!(weights.iter().any(|w| w.abs() > 0.2));
    }
}
