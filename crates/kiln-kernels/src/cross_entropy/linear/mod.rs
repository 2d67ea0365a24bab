//! Cross-entropy of hidden states through an output layer ("Cut your losses in large-vocabulary
//! language models", <https://arxiv.org/abs/2411.09009>): logits are made in blocks, forward and
//! again backward, and thrown away. On the CPU ignored rows cost nothing, and logits that are not
//! too many are kept for the backward step: a product costs more than their memory.
//!
//! The paper skips gradients below the resolution of bf16; here all are counted.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;

use super::CrossEntropyOptions;
use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{at_needed, primitive, record},
};
use burn::tensor::{Int, Shape, Tensor};

/// Logits that are kept at most: a quarter of a gigabyte.
const KEPT: usize = if cfg!(test) { 1_100_000 } else { 1 << 26 };

/// [`cross_entropy`](super::cross_entropy) of `hidden weight + bias`, without all of these logits in
/// memory where they are many.
///
/// # Shapes
/// - hidden: `[rows, width]`
/// - weight: `[width, classes]`, or `[classes, width]` (an embedding's table) if `transposed`
/// - bias: `[classes]`
/// - targets: `[rows]`, each in `0..classes` or the ignored one
/// - the result: `[rows]`
///
/// # Panics
/// When the shapes do not fit. On the CPU, also when a target is out of range.
pub fn linear_cross_entropy<B: Backend>(
    hidden: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    transposed: bool,
    bias: Option<Tensor<B, 1>>,
    targets: Tensor<B, 1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<B, 1> {
    let [rows, width] = hidden.dims();
    let [outer, inner] = weight.dims();
    let (weight_width, classes) = if transposed { (inner, outer) } else { (outer, inner) };
    assert!(classes > 0 && width > 0, "linear_cross_entropy: an empty weight");
    assert_eq!(weight_width, width, "linear_cross_entropy: the weight's width");
    assert_eq!(targets.dims(), [rows], "linear_cross_entropy: one target a row");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [classes], "linear_cross_entropy: one bias a class");
    }
    let kernel = Linear { options, transposed, bias: bias.is_some(), keep: false };
    let mut floats = vec![primitive(hidden), primitive(weight)];
    floats.extend(bias.map(primitive));
    let inputs = Tensors::floats(floats).with_ints([targets.into_primitive()]);
    record(&kernel, inputs)
}

/// The forward step. Floats: hidden, weight, and the bias if there is one. Ints: targets. Outputs:
/// the losses; the rows' log-sum-exp. Both are 0 where ignored. Where they are kept, the logits with
/// their biases, too, in whatever order the backward step reads them; on the CPU of the rows that count
/// alone.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) options: CrossEntropyOptions,
    pub(super) transposed: bool,
    pub(super) bias: bool,
    /// Whether logits are kept, if they are not too many.
    pub(super) keep: bool,
}

/// The backward step. Floats: hidden, weight, the bias if there is one, log-sum-exp, the logits if
/// they were kept, the losses' gradient. Ints: targets. Outputs: those needed of the gradients of hidden, weight and bias.
#[derive(Debug, Clone)]
pub(super) struct LinearBackward {
    forward: Linear,
    needed: [bool; 3],
}

impl Linear {
    /// Of a weight's shape.
    fn classes(&self, weight: &Shape) -> usize {
        weight[if self.transposed { 0 } else { 1 }]
    }

    /// Whether the logits of inputs of these shapes are kept, forward and backward.
    fn keeps(&self, floats: &[Shape], ints: &[Shape]) -> bool {
        self.keep && ints[0][0].saturating_mul(self.classes(&floats[1])) <= KEPT
    }
}

impl_kernel!(Linear, "linear_cross_entropy", forward, cube, |kernel, floats, ints| {
    let logits = || Shape::new([ints[0][0], kernel.classes(&floats[1])]);
    let logits = kernel.keeps(floats, ints).then(logits);
    let shapes = [ints[0].clone(), ints[0].clone()].into_iter().chain(logits);
    shapes.map(Output::full_precision).collect()
});

impl Differentiable for Linear {
    fn recorded<B: Backend>(&self) -> Self {
        Self { keep: B::KEEPS, ..self.clone() }
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let kernel = LinearBackward {
            forward: self.clone(),
            needed: [needed[0], needed[1], self.bias && needed[2]],
        };
        at_needed(needed, B::run(&kernel, kept))
    }
}

impl_kernel!(
    LinearBackward,
    "linear_cross_entropy_backward",
    backward,
    cube,
    |kernel, floats, _| {
        let shapes = floats.iter().zip(kernel.needed).filter(|(_, needed)| *needed);
        shapes.map(|(shape, _)| Output::new(shape.clone())).collect()
    }
);
