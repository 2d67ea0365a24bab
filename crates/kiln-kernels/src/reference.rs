//! What references share.

use burn::tensor::{
    Tensor, TensorMetadata, TensorPrimitive, backend::Backend as BurnBackend, ops::FloatTensor,
};

/// A tensor as a matrix of its last dimension.
pub(crate) fn matrix<B: BurnBackend>(tensor: FloatTensor<B>) -> Tensor<B, 2> {
    let shape = tensor.shape();
    let columns = shape.iter().last().copied().unwrap_or(1);
    let tensor = B::float_reshape(tensor, [shape.num_elements() / columns.max(1), columns].into());
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// What lies under a tensor.
pub(crate) fn primitive<B: BurnBackend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// A primitive as a tensor of known rank.
pub(crate) fn shaped<B: BurnBackend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
