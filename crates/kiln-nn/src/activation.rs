//! Activation functions by name.

use burn::tensor::{Tensor, activation};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An activation function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Gaussian error linear unit, exact, <https://arxiv.org/abs/1606.08415>.
    #[default]
    Gelu,
    /// The same, approximated with a hyperbolic tangent.
    GeluTanh,
    /// The same, approximated with a sigmoid.
    GeluSigmoid,
    /// Rectified linear unit.
    Relu,
    /// Sigmoid linear unit, also called swish.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// No activation.
    Identity,
}

impl Activation {
    /// Applies it to every element of a tensor of any shape.
    pub fn forward<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::GeluSigmoid => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
            Self::Tanh => x.tanh(),
            Self::Identity => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn known_values_at_one() {
        let at_one = |activation: Activation| -> f32 {
            activation
                .forward(Tensor::<Flex, 1>::from_floats([1.0], &Default::default()))
                .into_scalar()
        };
        for (activation, expected) in [
            (Activation::Gelu, 0.841_345),
            (Activation::GeluTanh, 0.841_192),
            (Activation::GeluSigmoid, 0.845_796),
            (Activation::Relu, 1.0),
            (Activation::Silu, 0.731_059),
            (Activation::Tanh, 0.761_594),
            (Activation::Identity, 1.0),
        ] {
            let found = at_one(activation);
            assert!((found - expected).abs() < 1e-5, "{activation:?}: {found}");
        }
    }
}
