//! A linear layer over the tokens of each item, for mixers (<https://arxiv.org/abs/2105.01601>):
//! `weightᵀ · x + bias` on `[tokens, width]` as it lies, where others transpose, multiply and
//! transpose back.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::{Tensor, backend::Backend as BurnBackend, ops::FloatTensor};

/// `out[b, o, w] = Σ_t x[b, t, w] · weight[t, o] + bias[o]`.
///
/// # Shapes
/// - x: `[batch, tokens, width]`
/// - weight: `[tokens, outputs]`, bias: `[outputs]`
/// - result: `[batch, outputs, width]`
///
/// # Panics
/// When the shapes do not fit each other.
pub fn linear_tokens<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    let [tokens, outputs] = weight.dims();
    assert_eq!(x.dims()[1], tokens, "tokens of the input and rows of the weight");
    assert!(bias.as_ref().is_none_or(|bias| bias.dims() == [outputs]), "a bias's size");
    let kernel = LinearTokens { bias: bias.is_some() };
    let floats = [primitive(x), primitive(weight)].into_iter().chain(bias.map(primitive));
    record(&kernel, Tensors::floats(floats))
}

/// The forward step. Floats: x, weight, and the bias if there is one.
#[derive(Debug, Clone)]
struct LinearTokens {
    bias: bool,
}

/// The backward step. Floats: x, weight, the gradient. Outputs: the gradients of weight and bias;
/// of x, if it is needed.
#[derive(Debug, Clone)]
struct LinearTokensBackward {
    x: bool,
}

impl_kernel!(LinearTokens, "linear_tokens", forward, |_, floats, _| vec![Output::new([
    floats[0][0],
    floats[1][1],
    floats[0][2]
])]);

impl Differentiable for LinearTokens {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, _outputs: &[FloatTensor<B>]) -> Tensors<B> {
        Tensors::floats(inputs.floats.into_iter().take(2))
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let mut found = B::run(&LinearTokensBackward { x: needed[0] }, kept).into_iter();
        let (weight, bias, x) = (found.next(), found.next(), found.next());
        let mut gradients = vec![x, weight];
        if self.bias {
            gradients.push(bias);
        }
        gradients
    }
}

impl_kernel!(LinearTokensBackward, "linear_tokens_backward", backward, |kernel, floats, _| {
    let mut outputs = vec![Output::new(floats[1].clone()), Output::new([floats[1][1]])];
    outputs.extend(kernel.x.then(|| Output::new(floats[0].clone())));
    outputs
});
