//! InfoNCE of queries against their own candidates, as wav2vec 2.0 is trained.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;

use crate::{
    Backend, Differentiable, Kernel, Output, Tensors,
    plain::{at_needed, primitive, tensor},
};
use burn::tensor::{Shape, Tensor, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// `-ln softmax(scale candidatesᵢ queryᵢ)[0]` of each query (<https://arxiv.org/abs/2006.11477>,
/// equation 3): its first candidate is the positive one, the others are negatives. In f32 where the
/// inputs are of lower precision.
///
/// Rows are used as they come: cosine similarities are of rows that the caller normalised, and
/// `scale` is one over the temperature.
///
/// # Shapes
/// - queries: `[rows, width]`
/// - candidates: `[rows, count, width]`
/// - scale: `[1]`
/// - the result: `[rows]`
///
/// # Panics
/// When the shapes do not fit.
pub fn info_nce_candidates<B: Backend>(
    queries: Tensor<B, 2>,
    candidates: Tensor<B, 3>,
    scale: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let [rows, width] = queries.dims();
    let [candidate_rows, count, candidate_width] = candidates.dims();
    let fits = (candidate_rows, candidate_width) == (rows, width);
    assert!(fits, "info_nce_candidates: candidates of other queries");
    assert!(count > 0, "info_nce_candidates: there are no candidates");
    assert_eq!(scale.dims(), [1], "info_nce_candidates: one scale");
    let inputs = Tensors::floats([primitive(queries), primitive(candidates), primitive(scale)]);
    tensor(B::record(&Candidates, inputs).swap_remove(0))
}

/// The forward step. Floats: queries, candidates, scale. Outputs: the losses.
#[derive(Debug, Clone)]
pub(super) struct Candidates;

/// The backward step. Floats: queries, candidates, scale, the losses' gradient. Outputs: those
/// needed of the gradients of the first three.
#[derive(Debug, Clone)]
pub(super) struct CandidatesBackward {
    needed: [bool; 3],
}

impl Kernel for Candidates {
    const NAME: &'static str = "contrastive_candidates";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        vec![Output::full_precision([floats[0][0]])]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        cube::forward(inputs)
    }
}

impl Differentiable for Candidates {
    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        let kernel = CandidatesBackward { needed: [needed[0], needed[1], needed[2]] };
        at_needed(needed, B::run(&kernel, kept))
    }
}

impl CandidatesBackward {
    /// Those of three gradients that are needed.
    fn choose<T>(&self, all: [T; 3]) -> Vec<T> {
        let needed = all.into_iter().zip(self.needed).filter(|(_, needed)| *needed);
        needed.map(|(gradient, _)| gradient).collect()
    }
}

impl Kernel for CandidatesBackward {
    const NAME: &'static str = "contrastive_candidates_backward";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        self.choose([0, 1, 2].map(|index| Output::new(floats[index].clone())))
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::backward(self, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::backward(self, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        cube::backward(self, inputs)
    }
}
