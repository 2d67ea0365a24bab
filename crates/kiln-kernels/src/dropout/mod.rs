//! Dropout, <https://jmlr.org/papers/v15/srivastava14a.html>, by itself or with the addition of a
//! residual.
//!
//! What is dropped depends on the seed, the row and the column alone, so the backward step drops the
//! same again: nothing is kept, not even a mask.

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
use burn::tensor::{Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

/// Zeros each value of x with probability `p`, and divides the others by `1 - p`. The same seed
/// drops the same values, on every backend; take another for each step and layer.
///
/// # Shapes
/// - x: any, and so the result
///
/// # Panics
/// When `p` is not in `0.0..=1.0`.
pub fn dropout<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    p: f64,
    seed: [u32; 2],
) -> Tensor<B, D> {
    check(p);
    if p == 0.0 {
        return x;
    }
    record(&Dropout { p, seed, residual: false }, Tensors::floats([primitive(x)]))
}

/// `residual + dropout(x)` in one pass.
///
/// # Shapes
/// - x, residual: any, both the same, and so the result
///
/// # Panics
/// When the shapes differ, or `p` is not in `0.0..=1.0`.
pub fn dropout_add<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Tensor<B, D>,
    p: f64,
    seed: [u32; 2],
) -> Tensor<B, D> {
    check(p);
    assert_eq!(x.dims(), residual.dims(), "x and the residual differ in shape");
    if p == 0.0 {
        return residual + x;
    }
    let floats = [x, residual].map(primitive);
    record(&Dropout { p, seed, residual: true }, Tensors::floats(floats))
}

fn check(p: f64) {
    assert!((0.0..=1.0).contains(&p), "{p} is no probability to drop with");
}

/// Floats: x, and the residual if there is one. It is its own backward step.
#[derive(Debug, Clone)]
struct Dropout {
    p: f64,
    seed: [u32; 2],
    residual: bool,
}

impl Dropout {
    /// What is kept is multiplied with it.
    fn scale(&self) -> f64 {
        // With a probability of one nothing is kept.
        if self.p < 1.0 { 1.0 / (1.0 - self.p) } else { 0.0 }
    }
}

impl_kernel!(Dropout, "dropout", dropout, cube, |_, floats, _| Output::like(&floats[..1]));

impl Differentiable for Dropout {
    fn keep<B: BurnBackend>(&self, _inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats([])
    }

    fn backward<B: Backend>(&self, gradient: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let residual = self.residual.then(|| gradient.floats[0].clone());
        let step = Self { residual: false, ..self.clone() };
        let x = needed[0].then(|| B::run(&step, gradient).swap_remove(0));
        if self.residual { vec![x, residual] } else { vec![x] }
    }
}
