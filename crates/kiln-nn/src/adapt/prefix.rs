//! Prefix tuning: learned keys and values that all tokens attend to, <https://arxiv.org/abs/2101.00190>.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{FloatDType, Int, Tensor},
};
use kiln_core::Backend;
use kiln_kernels::AttentionVisibility;

/// Prefix tuning: learned keys and values before those of the tokens.
#[derive(Module, Debug)]
pub struct Prefix<B: Backend> {
    /// `[prefix, kv_heads, head_width]`
    pub keys: Param<Tensor<B, 3>>,
    /// `[prefix, kv_heads, head_width]`
    pub values: Param<Tensor<B, 3>>,
}

impl<B: Backend> Prefix<B> {
    /// Random ones for `[prefix, kv_heads, head_width]`.
    pub(super) fn new(shape: [usize; 3], device: &B::Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        Self { keys: normal.init(shape, device), values: normal.init(shape, device) }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.keys.dims()[0]
    }

    /// Puts them before the keys and values of tokens, `[batch, keys, kv_heads, head_width]` each,
    /// and lets all of `queries` queries attend to them.
    pub(crate) fn join(
        &self,
        past: [Tensor<B, 4>; 2],
        queries: usize,
        mut visibility: AttentionVisibility<B>,
    ) -> ([Tensor<B, 4>; 2], AttentionVisibility<B>) {
        let ([batch, keys, ..], device) = (past[0].dims(), past[0].device());
        let prefix = self.len();
        // Windows and borders between documents are about tokens alone.
        if visibility.window.is_some() || visibility.documents.is_some() {
            visibility = visibility.into_bias([queries, keys], &device);
        }
        visibility.pattern = visibility.pattern.map(|lengths| lengths.clamp_min(0) + prefix as i64);
        visibility.mask_pad = visibility.mask_pad.map(|mask| {
            let free = Tensor::<B, 2, Int>::zeros([batch, prefix], &device).equal_elem(1);
            Tensor::cat(vec![free, mask], 1)
        });
        visibility.bias = visibility.bias.map(|bias| {
            let [batch, heads, queries, _] = bias.dims();
            let free = Tensor::<B, 4>::zeros([batch, heads, queries, prefix], &device);
            Tensor::cat(vec![free.cast(FloatDType::from(bias.dtype())), bias], 3)
        });
        let [keys, values] = past;
        let joined = [(&self.keys, keys), (&self.values, values)].map(|(prefix, tokens)| {
            let prefix = prefix.val().unsqueeze::<4>().repeat_dim(0, batch);
            Tensor::cat(vec![prefix, tokens], 1)
        });
        (joined, visibility)
    }
}
