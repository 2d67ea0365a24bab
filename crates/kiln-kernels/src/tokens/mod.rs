//! Tokens taken by number: the kept tokens of masked autoencoding
//! (<https://arxiv.org/abs/2111.06377>) and their way back, and embeddings.
//!
//! What goes back to a place is found by its number, not added by whoever comes first: sums are the
//! same from run to run, and no dense matrix of ones and zeros is made.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::{Int, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

/// The tokens with these numbers, in their order; a number may repeat.
///
/// # Shapes
/// - x: `[batch, tokens, width]`
/// - indices: `[batch, kept]`, each below `tokens`
/// - result: `[batch, kept, width]`
///
/// # Panics
/// When the batches differ; on the CPU when an index is not below `tokens`.
pub fn gather_tokens<B: Backend>(x: Tensor<B, 3>, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
    let [batch, rows, _] = x.dims();
    let [found, _] = indices.dims();
    assert_eq!(found, batch, "indices of a batch of {found} for one of {batch}");
    record(&Gather { rows }, inputs([primitive(x)], indices))
}

/// The inverse of [`gather_tokens`]: puts kept tokens at their places, and `fill`, the mask token,
/// elsewhere. Where an index repeats, its tokens are summed.
///
/// # Shapes
/// - kept: `[batch, kept, width]`
/// - indices: `[batch, kept]`, each below `tokens`
/// - fill: `[width]`
/// - result: `[batch, tokens, width]`
///
/// # Panics
/// When shapes do not fit; on the CPU when an index is not below `tokens`.
pub fn scatter_tokens<B: Backend>(
    kept: Tensor<B, 3>,
    indices: Tensor<B, 2, Int>,
    fill: Tensor<B, 1>,
    tokens: usize,
) -> Tensor<B, 3> {
    let [batch, count, width] = kept.dims();
    assert_eq!(indices.dims(), [batch, count], "each kept token has one index");
    assert_eq!(fill.dims(), [width], "the fill is as wide as a token");
    let floats = [primitive(kept), primitive(fill)];
    record(&Scatter { rows: tokens, fill: true }, inputs(floats, indices))
}

/// The rows of a table with these numbers.
///
/// # Shapes
/// - table: `[vocabulary, width]`
/// - ids: `[batch, tokens]`, each below `vocabulary`
/// - result: `[batch, tokens, width]`
///
/// # Panics
/// On the CPU when an id is not below `vocabulary`.
pub fn embedding<B: Backend>(table: Tensor<B, 2>, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
    let [vocabulary, width] = table.dims();
    let [batch, tokens] = ids.dims();
    let table: Tensor<B, 3> = table.unsqueeze_dim(0);
    let inputs = inputs([primitive(table)], ids.reshape([1, batch * tokens]));
    let out: Tensor<B, 3> = record(&Gather { rows: vocabulary }, inputs);
    out.reshape([batch, tokens, width])
}

fn inputs<B: Backend, const N: usize>(
    floats: [FloatTensor<B>; N],
    indices: Tensor<B, 2, Int>,
) -> Tensors<B> {
    Tensors::floats(floats).with_ints([indices.into_primitive()])
}

/// Floats: `[groups, rows, width]`. Ints: `[groups, picks]`. Outputs: `[groups, picks, width]`.
#[derive(Debug, Clone)]
struct Gather {
    rows: usize,
}

/// The sum of what was picked from each row. Floats: `[groups, picks, width]`, and `[width]` for
/// rows that were not picked, else zero. Ints: `[groups, picks]`. Outputs: `[groups, rows, width]`.
#[derive(Debug, Clone)]
struct Scatter {
    rows: usize,
    fill: bool,
}

/// The gradient of the fill: the sum over the rows that were not picked. Floats:
/// `[groups, rows, width]`. Ints: `[groups, picks]`. Outputs: `[width]`.
#[derive(Debug, Clone)]
struct FillGradient;

impl_kernel!(Gather, "gather", gather, cube, |_, floats, ints| vec![Output::new([
    ints[0][0],
    ints[0][1],
    floats[0][2]
])]);

impl Differentiable for Gather {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats([]).with_ints(inputs.ints)
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        let step = Scatter { rows: self.rows, fill: false };
        B::run(&step, kept).into_iter().map(Some).collect()
    }
}

impl_kernel!(Scatter, "scatter", scatter, cube, |kernel, floats, _| vec![Output::new([
    floats[0][0],
    kernel.rows,
    floats[0][2]
])]);

impl Differentiable for Scatter {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats([]).with_ints(inputs.ints)
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let fill = (needed.get(1) == Some(&true))
            .then(|| B::run(&FillGradient, kept.clone()).swap_remove(0));
        let values = needed[0].then(|| B::run(&Gather { rows: self.rows }, kept).swap_remove(0));
        if self.fill { vec![values, fill] } else { vec![values] }
    }
}

impl_kernel!(FillGradient, "fill_gradient", fill_gradient, cube, |_, floats, _| vec![Output::new(
    [floats[0][2]]
)]);
