//! Rotary position embedding, <https://arxiv.org/abs/2104.09864>, of all heads of a packed tensor in
//! one pass. Nothing of x is kept: the backward step rotates by the negative angle.

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
use burn::tensor::{Int, Tensor, TensorData, backend::Backend as BurnBackend, ops::FloatTensor};
use std::ops::Range;

/// Which two values of a head are rotated together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// Neighbours, `2 i` and `2 i + 1`, as in the paper.
    Interleaved,
    /// `i` and `rotated / 2 + i`, as in GPT-NeoX and Llama's published weights.
    #[default]
    HalfSplit,
}

/// What [`rotary`] rotates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RotaryOptions {
    /// Which two values are rotated together.
    pub pairing: Pairing,
    /// How many heads, from the first, are rotated; the others are copied. None for all. With
    /// queries, keys and values packed along the heads these are the queries and the keys.
    pub heads: Option<usize>,
}

/// How fast each pair turns, radians a position: `base^(-2 i / rotated)`, `rotated / 2` of them.
///
/// # Panics
/// When `rotated` is odd.
pub fn rotary_frequencies(rotated: usize, base: f64) -> Vec<f64> {
    assert!(rotated.is_multiple_of(2), "a width of {rotated} is no number of pairs");
    (0..rotated / 2).map(|pair| base.powf(-2.0 * pair as f64 / rotated as f64)).collect()
}

/// Cosines and sines of the angles `position * frequency`.
///
/// # Shapes
/// - result: `[positions, frequencies, 2]`, cosine and sine
pub fn rotary_table<B: Backend>(
    positions: Range<usize>,
    frequencies: &[f64],
    device: &B::Device,
) -> Tensor<B, 3> {
    let shape = [positions.len(), frequencies.len(), 2];
    let mut table = Vec::with_capacity(shape.iter().product());
    for position in positions {
        for frequency in frequencies {
            let (sine, cosine) = (position as f64 * frequency).sin_cos();
            table.extend([cosine as f32, sine as f32]);
        }
    }
    Tensor::from_data(TensorData::new(table, shape), device)
}

/// Rotates pairs of values of each head by angles that grow with the token's position. Only as much
/// of a head as the table covers is rotated, from its first value; the rest is copied. The table is
/// a constant: no gradient flows to it.
///
/// # Shapes
/// - x: `[batch, tokens, heads, head_width]`, and so the result
/// - table: `[positions, rotated / 2, 2]`, of [`rotary_table`]
/// - positions: `[batch, tokens]`, each below the table's; without them a token's position is its
///   place
///
/// # Panics
/// When the table covers fewer positions than there are tokens (and no positions are given), or more
/// than a head's width; when there are fewer heads than are to be rotated; when the positions'
/// shape is not x's; on the CPU when a position is not in the table.
pub fn rotary<B: Backend>(
    x: Tensor<B, 4>,
    table: Tensor<B, 3>,
    positions: Option<Tensor<B, 2, Int>>,
    options: RotaryOptions,
) -> Tensor<B, 4> {
    let [batch, tokens, heads, width] = x.dims();
    let [rows, pairs, two] = table.dims();
    assert_eq!(two, 2, "a table has a cosine and a sine for each angle");
    assert!(2 * pairs <= width, "{} values of a head of {width} cannot be rotated", 2 * pairs);
    let rotated_heads = options.heads.unwrap_or(heads);
    assert!(rotated_heads <= heads, "{rotated_heads} of {heads} heads cannot be rotated");
    match &positions {
        Some(positions) => {
            assert_eq!(positions.dims(), [batch, tokens], "each token has one position");
        }
        None => assert!(tokens <= rows, "{tokens} tokens, but {rows} positions in the table"),
    }
    let kernel = Rotary { pairing: options.pairing, heads: rotated_heads, inverse: false };
    let floats = [primitive(x), primitive(table)];
    record(&kernel, Tensors::floats(floats).with_ints(positions.map(Tensor::into_primitive)))
}

/// Floats: x, the table. Ints: the positions, if they are not the tokens' places. It is its own
/// backward step, inverted.
#[derive(Debug, Clone)]
struct Rotary {
    pairing: Pairing,
    heads: usize,
    /// By the negative angle.
    inverse: bool,
}

impl_kernel!(Rotary, "rotary", rotary, cube, |_, floats, _| vec![Output::new(floats[0].clone())]);

impl Differentiable for Rotary {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors { floats: inputs.floats.into_iter().skip(1).collect(), ints: inputs.ints }
    }

    fn backward<B: Backend>(&self, mut kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        // The gradient stands where x did.
        kept.floats.rotate_right(1);
        let step = Self { inverse: !self.inverse, ..self.clone() };
        vec![needed[0].then(|| B::run(&step, kept).swap_remove(0)), None]
    }
}
