//! The sum of squares over many tensors in one call: the norm that gradients are clipped by.

mod cpu;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Kernel, Output, Tensors,
    plain::{matrix, primitive, tensor},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

/// The sum of the squares of all values of all tensors, `[1]`; `None` of no tensors.
///
/// # Shapes
/// - tensors: `[elements]` each
pub fn sum_of_squares<B: Backend>(tensors: Vec<Tensor<B, 1>>) -> Option<Tensor<B, 1>> {
    let inputs = Tensors::floats(tensors.into_iter().map(primitive));
    if inputs.floats.is_empty() {
        return None;
    }
    Some(tensor(B::run(&SumOfSquares, inputs).swap_remove(0)))
}

/// Floats: the tensors. Output: the sum.
#[derive(Debug, Clone)]
struct SumOfSquares;

impl Kernel for SumOfSquares {
    const NAME: &'static str = "sum_of_squares";

    fn outputs(&self, _floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        vec![Output::full_precision([1])]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        let sums = inputs.floats.into_iter().map(|tensor| matrix::<B>(tensor).square().sum());
        vec![primitive(Tensor::cat(sums.collect(), 0).sum())]
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::sum(inputs)
    }
}
