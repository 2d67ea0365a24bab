//! The forward and the backward step as kernels.

use super::{
    cpu, reference,
    shape::{Attention, AttentionBackward, Sizes},
};
use crate::{
    Backend, Differentiable, Gradients, Output, Tensors, kernel::impl_kernel, plain::at_needed,
};
use burn::tensor::{backend::Backend as BurnBackend, ops::FloatTensor};

#[cfg(feature = "cube")]
use super::cube;

impl_kernel!(Attention, "attention", forward, cube, |kernel, floats, _| {
    let Sizes { batch, queries, heads, width, .. } = kernel.sizes(floats);
    vec![
        Output::new([batch, queries, heads, width]),
        Output::full_precision([batch, heads, queries]),
    ]
});

impl Differentiable for Attention {
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let Tensors { mut floats, ints } = inputs;
        floats.extend(outputs.iter().cloned());
        Tensors { floats, ints }
    }

    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B> {
        let sources = &needed[..self.sources()];
        let step = AttentionBackward {
            attention: self.clone(),
            queries: sources[0],
            keys: self.packed.is_none() && sources[1..].contains(&true),
            bias: self.bias && needed[self.sources()],
        };
        let sources = [step.queries, step.keys, step.keys].into_iter().take(self.sources());
        let asked: Vec<bool> = sources.chain(self.bias.then_some(step.bias)).collect();
        at_needed(&asked, B::run(&step, kept))
    }
}

impl_kernel!(AttentionBackward, "attention_backward", backward, cube, |kernel, floats, _| {
    let mut outputs = Vec::new();
    if kernel.queries {
        outputs.push(Output::new(floats[0].clone()));
    }
    if kernel.keys {
        outputs.extend([1, 2].map(|index| Output::new(floats[index].clone())));
    }
    if kernel.bias {
        outputs.push(Output::new(floats[kernel.attention.sources()].clone()));
    }
    outputs
});
