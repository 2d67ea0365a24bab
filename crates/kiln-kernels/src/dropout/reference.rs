//! In plain tensor operations, with a mask from the host.

use super::Dropout;
use crate::{
    Tensors,
    plain::rows,
    random::{bits, threshold},
};
use burn::tensor::{
    Bool, Tensor, TensorData, TensorMetadata, TensorPrimitive, backend::Backend as BurnBackend,
    ops::FloatTensor,
};

pub(super) fn dropout<B: BurnBackend>(kernel: &Dropout, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let mut floats = inputs.floats.into_iter();
    let Some(x) = floats.next() else { return Vec::new() };
    let shape = x.shape();
    let (rows, width) = rows(&shape);
    let least = threshold(kernel.p);
    let mut dropped = Vec::with_capacity(rows * width);
    for row in 0..rows as u32 {
        for column in 0..width as u32 {
            dropped.push(kernel.p >= 1.0 || bits(kernel.seed, row, column) < least);
        }
    }
    let flat = |tensor: FloatTensor<B>| {
        let flat = B::float_reshape(tensor, [rows * width].into());
        Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(flat))
    };
    let x = flat(x);
    let dropped = TensorData::new(dropped, [rows * width]);
    let dropped = Tensor::<B, 1, Bool>::from_data(dropped, &x.device());
    let mut out = (x * kernel.scale()).mask_fill(dropped, 0.0);
    if let Some(residual) = floats.next() {
        out = out + flat(residual);
    }
    vec![B::float_reshape(out.into_primitive().tensor(), shape)]
}
