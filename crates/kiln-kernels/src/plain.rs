//! What public functions and references share: primitives as tensors and back, recording a kernel,
//! shapes as matrices, and the log-sum-exp of rows.

use crate::{Differentiable, Tensors};
use burn::tensor::{
    DType, Int, Shape, Tensor, TensorMetadata, TensorPrimitive,
    backend::Backend,
    ops::{FloatTensor, IntTensor},
};

/// A primitive as a tensor.
pub(crate) fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// Rows and columns of a tensor seen as a matrix of its last dimension.
pub(crate) fn rows(shape: &Shape) -> (usize, usize) {
    let columns = shape.iter().last().copied().unwrap_or(1);
    (shape.num_elements() / columns.max(1), columns)
}

/// A tensor as a matrix of its last dimension.
pub(crate) fn matrix<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 2> {
    let (rows, columns) = rows(&x.shape());
    tensor(B::float_reshape(x, [rows, columns].into()))
}

/// An integer primitive as a tensor.
pub(crate) fn integers<B: Backend, const D: usize>(x: IntTensor<B>) -> Tensor<B, D, Int> {
    Tensor::from_primitive(x)
}

/// A tensor as a primitive.
pub(crate) fn primitive<B: Backend, const D: usize>(x: Tensor<B, D>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

/// Records a kernel; its first output, the one that gradients flow through.
pub(crate) fn record<B: crate::Backend, const D: usize>(
    kernel: &impl Differentiable,
    inputs: Tensors<B>,
) -> Tensor<B, D> {
    tensor(B::record(kernel, inputs).swap_remove(0))
}

/// Half precision as f32: what is summed over many values loses too much otherwise.
pub(crate) fn to_f32<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    }
}

/// `ln Σ e^x` of each row: `[rows, 1]`.
pub(crate) fn log_sum_exp<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    // The shift changes nothing but what overflows, so no gradient flows through it.
    let shift = x.clone().detach().max_dim(1);
    (x - shift.clone()).exp().sum_dim(1).log() + shift
}

/// Puts gradients back at the positions for which they were needed.
pub(crate) fn at_needed<T>(needed: &[bool], found: Vec<T>) -> Vec<Option<T>> {
    let mut found = found.into_iter();
    needed.iter().map(|&needed| if needed { found.next() } else { None }).collect()
}
