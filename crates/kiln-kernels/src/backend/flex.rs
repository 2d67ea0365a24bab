//! The CPU.

use super::Backend;
use crate::{Kernel, Tensors};
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

impl Backend for Flex {
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FlexTensor> {
        if inputs.floats.iter().all(|tensor| tensor.dtype() == DType::F32) {
            kernel.cpu(inputs)
        } else {
            kernel.reference::<Flex>(inputs)
        }
    }
}
