//! Linear layers whose weights are kept as eight-bit integers, for models that only run: a quarter
//! of the memory, for a little of the precision and of the speed.
//!
//! Each block of [`BLOCK`] weights in a row has a scale of its own, the largest of them by 127, as
//! in <https://arxiv.org/abs/2208.07339> without its outliers. A layer's weights become numbers of
//! full precision when it is used, and only then.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{
        Tensor,
        quantization::{QuantLevel, QuantParam, QuantScheme, QuantValue},
    },
};
use kiln_core::Backend;

/// Weights that share a scale.
pub const BLOCK: u8 = 32;

/// A model whose linear layers hold integers. What is not of whole blocks stays as it is, and so do
/// embeddings, norms, biases and adapters.
pub fn quantized<B: Backend, M: Module<B>>(model: M) -> M {
    model.map(&mut Quantize { places: Vec::new() })
}

struct Quantize {
    /// For each level of the module that is walked through, whether it is a linear layer's weight.
    places: Vec<bool>,
}

impl<B: Backend> ModuleMapper<B> for Quantize {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.places.push(name == "weight" && container == "Struct:Linear");
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.places.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let whole = param.dims().last().is_some_and(|last| last % usize::from(BLOCK) == 0);
        if !(whole && self.places.last() == Some(&true)) {
            return param;
        }
        let scheme = QuantScheme::default()
            .with_value(QuantValue::Q8S)
            .with_level(QuantLevel::block([BLOCK]))
            .with_param(QuantParam::F32);
        param.map(|weight| weight.quantize_dynamic(&scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinearConfig;
    use burn::tensor::{Distribution, TensorPrimitive};
    use burn_flex::Flex;

    #[test]
    fn weights_become_integers_and_outputs_stay_near() {
        let device = Default::default();
        let layer = LinearConfig::new(48, 64).init::<Flex>(&device);
        let small = LinearConfig::new(48, 10).init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([2, 3, 48], Distribution::Normal(0.0, 1.0), &device);
        // Weights are drawn when a layer is first used.
        let (full, plain) = (layer.forward(x.clone()), small.forward(x.clone()));
        let (near, same) = (quantized(layer), quantized(small));
        let is_quantized = |layer: &crate::Linear<Flex>| {
            matches!(layer.weight.val().into_primitive(), TensorPrimitive::QFloat(_))
        };
        assert!(is_quantized(&near) && !is_quantized(&same));
        let found = near.forward(x.clone());
        let error = (full.clone() - found).abs().mean().into_scalar();
        let size = full.abs().mean().into_scalar();
        assert!(error > 0.0 && error < 0.01 * size, "{error} of {size}");
        assert_eq!(plain.into_data(), same.forward(x).into_data());
    }
}
