//! The CPU.

use crate::kernel::{Backend, Kernel, Tensors};
use burn::tensor::{DType, FloatDType, ops::FloatTensorOps};
use burn_flex::{Flex, FlexTensor};

impl Backend for Flex {
    const KEEPS: bool = true;

    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FlexTensor> {
        let is = |dtype| inputs.floats.iter().any(|tensor| tensor.dtype() == dtype);
        if is(DType::F64) {
            kernel.reference::<Flex>(inputs)
        } else if is(DType::BF16) || is(DType::F16) {
            run_half(kernel, inputs)
        } else {
            kernel.cpu(inputs)
        }
    }
}

/// Half precision is storage on the CPU; what is computed is f32.
fn run_half<K: Kernel>(kernel: &K, mut inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let storage = inputs.floats.first().map_or(DType::F32, FlexTensor::dtype);
    let cast = |tensor: FlexTensor, dtype: DType| {
        if tensor.dtype() == dtype {
            tensor
        } else {
            Flex::float_cast(tensor, FloatDType::from(dtype))
        }
    };
    let (floats, ints) = inputs.shapes();
    let described = kernel.outputs(&floats, &ints);
    inputs.floats = inputs.floats.into_iter().map(|tensor| cast(tensor, DType::F32)).collect();
    let outputs = kernel.cpu(inputs).into_iter().zip(described);
    outputs
        .map(|(tensor, output)| if output.full_precision { tensor } else { cast(tensor, storage) })
        .collect()
}
