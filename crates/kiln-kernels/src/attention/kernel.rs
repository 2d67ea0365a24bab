//! The forward and the backward step as kernels.

use super::{AttentionDropout, cpu, reference};
use crate::{Backend, Differentiable, Kernel, Output, Tensors, random};
use burn::tensor::{Shape, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use super::cube;
#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// The forward step. Floats: the sources (one packed tensor, or queries, keys and values), and the
/// bias if there is one. Integers: the padding mask and the offsets, those that there are. Outputs:
/// the result; the log-sum-exp of each row's scores, `[batch, heads, queries]`, zero for rows that
/// see nothing.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    /// Heads of queries and of keys, where the sources are packed.
    pub(super) packed: Option<[usize; 2]>,
    pub(super) causal: bool,
    pub(super) window: Option<usize>,
    pub(super) scale: f64,
    pub(super) mask_pad: bool,
    pub(super) offsets: bool,
    pub(super) bias: bool,
    pub(super) alibi: Option<Vec<f32>>,
    pub(super) dropout: Option<AttentionDropout>,
}

/// The backward step. Floats: those of the forward step, its two outputs, the gradient. Outputs:
/// the gradients of the sources, then of the bias, those that are asked for.
#[derive(Debug, Clone)]
pub(super) struct AttentionBackward {
    pub(super) attention: Attention,
    /// The queries' gradient; where packed, that of the packed tensor.
    pub(super) queries: bool,
    /// The keys' and the values' gradients.
    pub(super) keys: bool,
    pub(super) bias: bool,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
}

impl Sizes {
    /// Heads of queries that share a head of keys.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// The position of the first query among the keys.
    pub(super) fn shift(&self) -> isize {
        self.keys as isize - self.queries as isize
    }
}

impl Attention {
    /// How many float inputs the sources are.
    pub(super) fn sources(&self) -> usize {
        if self.packed.is_some() { 1 } else { 3 }
    }

    pub(super) fn sizes(&self, floats: &[Shape]) -> Sizes {
        let [batch, queries, total, width] = std::array::from_fn(|axis| floats[0][axis]);
        match self.packed {
            Some([heads, kv_heads]) => {
                Sizes { batch, queries, keys: queries, heads, kv_heads, width }
            }
            None => {
                let (keys, kv_heads) = (floats[1][1], floats[1][2]);
                Sizes { batch, queries, keys, heads: total, kv_heads, width }
            }
        }
    }

    /// The padding mask and the offsets among the integers.
    pub(super) fn split_ints<T>(&self, ints: Vec<T>) -> (Option<T>, Option<T>) {
        let mut ints = ints.into_iter();
        let mask = if self.mask_pad { ints.next() } else { None };
        (mask, if self.offsets { ints.next() } else { None })
    }
}

impl AttentionDropout {
    /// Weights whose random bits are below are dropped.
    pub(super) fn threshold(&self) -> u32 {
        random::threshold(self.p)
    }

    /// What kept weights are multiplied by.
    pub(super) fn scale(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }
}

impl Kernel for Attention {
    const NAME: &'static str = "attention";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let Sizes { batch, queries, heads, width, .. } = self.sizes(floats);
        vec![
            Output::new([batch, queries, heads, width]),
            Output::full_precision([batch, heads, queries]),
        ]
    }

    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
        reference::forward(self, inputs)
    }

    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        cpu::forward(self, inputs)
    }

    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        cube::forward(self, inputs)
    }
}

impl Differentiable for Attention {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let Tensors { mut floats, ints } = inputs;
        floats.extend(outputs.iter().cloned());
        Tensors { floats, ints }
    }

    fn backward<B: Backend>(
        &self,
        mut kept: Tensors<B>,
        gradient: FloatTensor<B>,
        needed: &[bool],
    ) -> Vec<Option<FloatTensor<B>>> {
        kept.floats.push(gradient);
        let sources = &needed[..self.sources()];
        let step = AttentionBackward {
            attention: self.clone(),
            queries: sources[0],
            keys: self.packed.is_none() && sources[1..].contains(&true),
            bias: self.bias && needed[self.sources()],
        };
        let mut found = B::run(&step, kept).into_iter();
        let mut next = |asked: bool| if asked { found.next() } else { None };
        let mut gradients = vec![next(step.queries)];
        if self.packed.is_none() {
            gradients.extend([next(step.keys), next(step.keys)]);
        }
        if self.bias {
            gradients.push(next(step.bias));
        }
        gradients
    }
}

impl Kernel for AttentionBackward {
    const NAME: &'static str = "attention_backward";
    const ON_CUBE: bool = true;

    fn outputs(&self, floats: &[Shape], _ints: &[Shape]) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.queries {
            outputs.push(Output::new(floats[0].clone()));
        }
        if self.keys {
            outputs.extend([1, 2].map(|index| Output::new(floats[index].clone())));
        }
        if self.bias {
            outputs.push(Output::new(floats[self.attention.sources()].clone()));
        }
        outputs
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
