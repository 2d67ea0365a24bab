//! The forward and the backward step as kernels.

use super::{
    cpu, reference,
    shape::{Attention, AttentionBackward, Sizes},
};
use crate::{Backend, Differentiable, Kernel, Output, Tensors};
use burn::tensor::{Shape, backend::Backend as BurnBackend, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor};

#[cfg(feature = "cube")]
use super::cube;
#[cfg(feature = "cube")]
use crate::cube::CubeTensors;
#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

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
