//! Linear layers on one input: `x · weight + bias + residual`, any number of them into one packed
//! output.
//!
//! What is saved against spelling it out: bias and residual are where the product starts, not
//! passes after it; queries, keys and values come out of one call as the packed tensor that
//! [`self_attention`](crate::self_attention) reads; the input's gradient is summed by the products
//! themselves; no operand is ever transposed in memory. On GPUs the products are Burn's, tuned on
//! the machine.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{at_needed, primitive, record},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

/// `x · weight + bias + residual` over the last dimension.
///
/// # Shapes
/// - x: `[.., inputs]`
/// - weight: `[inputs, outputs]`, bias: `[outputs]`
/// - residual and the result: `[.., outputs]`
///
/// # Panics
/// When the shapes do not fit each other.
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    residual: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    call(x, vec![(weight, bias)], residual, false)
}

/// Several linear layers on one input, their outputs side by side in the last dimension.
///
/// # Shapes
/// - x: `[.., inputs]`
/// - weights: `[inputs, outputs]` each, biases: `[outputs]` each, of all layers or of none
/// - result: `[.., sum of outputs]`
///
/// # Panics
/// When the shapes do not fit each other, or only some layers have a bias.
pub fn linear_packed<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    layers: Vec<(Tensor<B, 2>, Option<Tensor<B, 1>>)>,
) -> Tensor<B, D> {
    call(x, layers, None, false)
}

/// `x · tableᵀ + bias`: how much each row of an embedding is that of x, where a decoder is tied to
/// the embedding (<https://arxiv.org/abs/1608.05859>).
///
/// # Shapes
/// - x: `[.., width]`
/// - table: `[vocabulary, width]`, bias: `[vocabulary]`
/// - result: `[.., vocabulary]`
///
/// # Panics
/// When the shapes do not fit each other.
pub fn linear_tied<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    table: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    call(x, vec![(table, bias)], None, true)
}

fn call<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    layers: Vec<(Tensor<B, 2>, Option<Tensor<B, 1>>)>,
    residual: Option<Tensor<B, D>>,
    tied: bool,
) -> Tensor<B, D> {
    let with_bias = layers.iter().filter(|(_, bias)| bias.is_some()).count();
    assert!(with_bias == 0 || with_bias == layers.len(), "some of the layers have a bias");
    let inputs = x.dims()[D - 1];
    let mut shape = x.dims();
    shape[D - 1] = 0;
    for (weight, bias) in &layers {
        let [rows, columns] = sizes(&weight.shape(), tied);
        assert_eq!(rows, inputs, "a weight's rows and the input's features");
        assert!(bias.as_ref().is_none_or(|bias| bias.dims() == [columns]), "a bias's size");
        shape[D - 1] += columns;
    }
    assert!(
        residual.as_ref().is_none_or(|residual| residual.dims() == shape),
        "a residual's shape"
    );
    let kernel =
        Linear { layers: layers.len(), bias: with_bias > 0, residual: residual.is_some(), tied };
    let (weights, biases): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
    let mut floats = vec![primitive(x)];
    floats.extend(weights.into_iter().map(primitive));
    floats.extend(biases.into_iter().flatten().map(primitive));
    floats.extend(residual.map(primitive));
    record(&kernel, Tensors::floats(floats))
}

/// The forward step. Floats: x, the weights, the biases if there are any, the residual if there is
/// one. Output: the layers' outputs side by side.
#[derive(Debug, Clone)]
struct Linear {
    layers: usize,
    bias: bool,
    residual: bool,
    /// Weights are `[outputs, inputs]`.
    tied: bool,
}

/// The backward step. Floats: x, the weights, the gradient. Outputs: of those that are needed, the
/// gradients of x, the weights, the biases.
#[derive(Debug, Clone)]
struct LinearBackward {
    layers: usize,
    tied: bool,
    x: bool,
    weights: Vec<bool>,
    biases: Vec<bool>,
}

/// Inputs and outputs of a weight.
fn sizes(weight: &Shape, tied: bool) -> [usize; 2] {
    if tied { [weight[1], weight[0]] } else { [weight[0], weight[1]] }
}

/// Floats by their meaning.
struct Parts<T> {
    x: T,
    weights: Vec<T>,
    rest: Vec<T>,
}

impl<T> Parts<T> {
    fn new(floats: Vec<T>, layers: usize) -> Self {
        let mut floats = floats.into_iter();
        match floats.next() {
            Some(x) => {
                let weights = floats.by_ref().take(layers).collect();
                Self { x, weights, rest: floats.collect() }
            }
            None => unreachable!("a linear layer without an input"),
        }
    }
}

impl_kernel!(Linear, "linear", forward, |kernel, floats, _| {
    let mut shape = floats[0].clone();
    let last = shape.num_dims() - 1;
    shape[last] =
        floats[1..=kernel.layers].iter().map(|weight| sizes(weight, kernel.tied)[1]).sum();
    vec![Output::new(shape)]
});

impl Differentiable for Linear {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats(inputs.floats.into_iter().take(1 + self.layers))
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let (weights, biases) = needed[1..].split_at(self.layers);
        let biases = if self.bias { &biases[..self.layers] } else { &[] };
        let kernel = LinearBackward {
            layers: self.layers,
            tied: self.tied,
            x: needed[0],
            weights: weights.to_vec(),
            biases: biases.to_vec(),
        };
        let gradient = kept.floats.last().filter(|_| self.residual).cloned();
        let count = 1 + weights.len() + biases.len();
        let mut gradients = at_needed(&needed[..count], B::run(&kernel, kept));
        if self.residual {
            gradients.push(gradient.filter(|_| needed.last() == Some(&true)));
        }
        gradients
    }
}

impl_kernel!(LinearBackward, "linear_backward", backward, |kernel, floats, _| {
    let weights = &floats[1..=kernel.layers];
    let x = kernel.x.then(|| Output::new(floats[0].clone()));
    let needed = |flags: &[bool], of: &dyn Fn(&Shape) -> Output| -> Vec<Output> {
        weights.iter().zip(flags).filter(|(_, needed)| **needed).map(|(w, _)| of(w)).collect()
    };
    x.into_iter()
        .chain(needed(&kernel.weights, &|weight| Output::new(weight.clone())))
        .chain(needed(&kernel.biases, &|weight| Output::new([sizes(weight, kernel.tied)[1]])))
        .collect()
});
