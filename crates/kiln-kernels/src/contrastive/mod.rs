//! Contrastive losses, which tell matching pairs from all others in a batch. The matrix of
//! similarities is made in blocks, forward and again backward, and thrown away.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, Output, Tensors,
    kernel::impl_kernel,
    plain::{at_needed, primitive, record},
};
use burn::tensor::Tensor;

/// InfoNCE both ways, as CLIP is trained (<https://arxiv.org/abs/2103.00020>, figure 3): with
/// `s = scale a bᵀ`, pair `i` costs the mean of `-ln softmax(s[i, :])[i]` and
/// `-ln softmax(s[:, i])[i]`, in f32 where the inputs are of lower precision.
///
/// Rows are used as they come: cosine similarities are of rows that the caller normalised, and
/// `scale` is one over the temperature (where it is learned as a logarithm, its exponential).
///
/// # Shapes
/// - a, b: `[pairs, width]`
/// - scale: `[1]`
/// - the result: `[pairs]`
///
/// # Panics
/// When the shapes do not fit.
pub fn info_nce<B: Backend>(a: Tensor<B, 2>, b: Tensor<B, 2>, scale: Tensor<B, 1>) -> Tensor<B, 1> {
    assert_eq!(a.dims(), b.dims(), "info_nce: rows of a and b are pairs");
    assert_eq!(scale.dims(), [1], "info_nce: one scale");
    let inputs = Tensors::floats([primitive(a), primitive(b), primitive(scale)]);
    record(&Pairs { loss: PairLoss::Softmax }, inputs)
}

/// The pairwise sigmoid loss of SigLIP (<https://arxiv.org/abs/2303.15343>): with
/// `s = scale a bᵀ + bias`, row `i` costs `Σ_j -ln sigmoid(±s[i, j])`, plus for `i = j`, minus for
/// all others, in f32 where the inputs are of lower precision. The paper's loss is the rows' mean.
///
/// # Shapes
/// - a, b: `[pairs, width]`, normalised by the caller
/// - scale, bias: `[1]`; the paper starts at 10 and -10
/// - the result: `[pairs]`
///
/// # Panics
/// When the shapes do not fit.
pub fn sigmoid_pairs<B: Backend>(
    a: Tensor<B, 2>,
    b: Tensor<B, 2>,
    scale: Tensor<B, 1>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 1> {
    assert_eq!(a.dims(), b.dims(), "sigmoid_pairs: rows of a and b are pairs");
    assert_eq!((scale.dims(), bias.dims()), ([1], [1]), "sigmoid_pairs: one scale, one bias");
    let floats = [primitive(a), primitive(b), primitive(scale), primitive(bias)];
    record(&Pairs { loss: PairLoss::Sigmoid }, Tensors::floats(floats))
}

/// What a pair costs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum PairLoss {
    /// Its share among all of its row and of its column.
    Softmax,
    /// Each similarity by itself.
    Sigmoid,
}

/// The forward step. Floats: a, b, scale, and the bias with sigmoids. Outputs: the losses; with a
/// softmax `[2, pairs]`, the log-sum-exp of rows and of columns.
#[derive(Debug, Clone)]
struct Pairs {
    loss: PairLoss,
}

/// The backward step. Floats: a, b, scale, the bias or the log-sum-exp, the losses' gradient.
/// Outputs: those needed of the gradients of a, b, scale and bias.
#[derive(Debug, Clone)]
struct PairsBackward {
    loss: PairLoss,
    needed: [bool; 4],
}

impl_kernel!(Pairs, "contrastive_pairs", forward, cube, |kernel, floats, _| {
    let pairs = floats[0][0];
    let mut outputs = vec![Output::full_precision([pairs])];
    if kernel.loss == PairLoss::Softmax {
        outputs.push(Output::full_precision([2, pairs]));
    }
    outputs
});

impl Differentiable for Pairs {
    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let bias = needed.get(3).copied().unwrap_or(false);
        let kernel =
            PairsBackward { loss: self.loss, needed: [needed[0], needed[1], needed[2], bias] };
        at_needed(needed, B::run(&kernel, kept))
    }
}

impl PairsBackward {
    /// Those of four gradients that are needed.
    fn choose<T>(&self, all: [Option<T>; 4]) -> Vec<T> {
        let needed = all.into_iter().zip(self.needed).filter(|(_, needed)| *needed);
        needed.filter_map(|(gradient, _)| gradient).collect()
    }
}

impl_kernel!(PairsBackward, "contrastive_pairs_backward", backward, cube, |kernel, floats, _| {
    let one = || Some(Output::new([1]));
    let like = |index: usize| Some(Output::new(floats[index].clone()));
    kernel.choose([like(0), like(1), one(), one()])
});
