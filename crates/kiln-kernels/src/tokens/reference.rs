//! In plain tensor operations, on the rows of all groups as one matrix.

use super::{FillGradient, Gather, Scatter};
use crate::{
    Tensors,
    plain::{primitive, tensor},
};
use burn::tensor::{
    IndexingUpdateOp, Int, Tensor, backend::Backend as BurnBackend, ops::FloatTensor,
};

/// Numbers of rows within their groups as numbers of rows.
fn flat<B: BurnBackend>(indices: Tensor<B, 2, Int>, rows: usize) -> Tensor<B, 1, Int> {
    let [groups, picks] = indices.dims();
    let device = indices.device();
    let starts = Tensor::<B, 1, Int>::arange(0..groups as i64, &device) * rows as i64;
    let starts = starts.cast(indices.dtype()).unsqueeze_dim::<2>(1);
    (indices + starts).reshape([groups * picks])
}

/// The floats and the only integers.
fn split<B: BurnBackend>(inputs: Tensors<B>) -> (Vec<FloatTensor<B>>, Tensor<B, 2, Int>) {
    let Tensors { floats, mut ints } = inputs;
    (floats, Tensor::from_primitive(ints.swap_remove(0)))
}

pub(super) fn gather<B: BurnBackend>(_: &Gather, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let (mut floats, indices) = split(inputs);
    let x = tensor::<B, 3>(floats.swap_remove(0));
    let [groups, rows, width] = x.dims();
    let [_, picks] = indices.dims();
    let x = x.reshape([groups * rows, width]);
    let out: Tensor<B, 3> = x.select(0, flat(indices, rows)).reshape([groups, picks, width]);
    vec![primitive(out)]
}

/// How often each row was picked, `[groups * rows, 1]`, in the float type of `like`.
fn counts<B: BurnBackend>(like: Tensor<B, 2>, indices: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    let ones = Tensor::<B, 2>::ones([indices.dims()[0], 1], &like.device()).cast(like.dtype());
    like.narrow(1, 0, 1).zeros_like().select_assign(0, indices, ones, IndexingUpdateOp::Add)
}

pub(super) fn scatter<B: BurnBackend>(kernel: &Scatter, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let (floats, indices) = split(inputs);
    let mut floats = floats.into_iter();
    let Some(x) = floats.next() else { return Vec::new() };
    let x = tensor::<B, 3>(x);
    let [groups, picks, width] = x.dims();
    let rows = groups * kernel.rows;
    let zeros = Tensor::<B, 2>::zeros([rows, width], &x.device()).cast(x.dtype());
    let indices = flat(indices, kernel.rows);
    let x = x.reshape([groups * picks, width]);
    let mut out = zeros.clone().select_assign(0, indices.clone(), x, IndexingUpdateOp::Add);
    if let Some(fill) = floats.next() {
        let free = counts(zeros, indices).equal_elem(0.0).float().cast(out.dtype());
        out = out + free * tensor::<B, 1>(fill).unsqueeze_dim::<2>(0);
    }
    vec![primitive::<B, 3>(out.reshape([groups, kernel.rows, width]))]
}

pub(super) fn fill_gradient<B: BurnBackend>(
    _: &FillGradient,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let (mut floats, indices) = split(inputs);
    let gradient = tensor::<B, 3>(floats.swap_remove(0));
    let [groups, rows, width] = gradient.dims();
    let gradient = gradient.reshape([groups * rows, width]);
    let counts = counts(gradient.clone(), flat(indices, rows));
    let free = counts.equal_elem(0.0).float().cast(gradient.dtype());
    vec![primitive::<B, 1>((gradient * free).sum_dim(0).reshape([width]))]
}
