//! Keys and values that all tokens see, <https://arxiv.org/abs/2101.00190>.

use crate::sees::{UNSEEN, elsewhere};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Bool, FloatDType, Int, Tensor},
};
use kiln_core::Backend;
use kiln_kernels::AttentionOptions;

/// Learnt keys and values before those of the tokens.
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

    /// Puts them before the `keys` and `values` of tokens, `[batch, keys, kv_heads, head_width]`
    /// each, and lets all of `queries` queries see them.
    pub(crate) fn join(
        &self,
        seen: [Tensor<B, 4>; 2],
        queries: usize,
        options: &mut AttentionOptions<B>,
    ) -> [Tensor<B, 4>; 2] {
        let ([batch, keys, ..], device) = (seen[0].dims(), seen[0].device());
        let prefix = self.len();
        if let Some(mask) = options.mask_pad.take() {
            let seen = Tensor::<B, 2, Int>::zeros([batch, prefix], &device).equal_elem(1);
            options.mask_pad = Some(Tensor::cat(vec![seen, mask], 1));
        }
        // Windows and borders between documents are about tokens alone.
        let mut hidden = None;
        if let Some(window) = options.window.take() {
            hidden = Some(outside(window, queries, keys, &device));
        }
        if let Some(offsets) = options.offsets.take() {
            let others = elsewhere(&offsets, [1, keys]).squeeze_dim(0);
            hidden = Some(match hidden {
                Some(hidden) => hidden.bool_or(others),
                None => others,
            });
        }
        let mut bias = options.bias.take();
        if let Some(hidden) = hidden {
            let hidden = hidden.float().mul_scalar(UNSEEN).reshape([1, 1, queries, keys]);
            bias = Some(match bias {
                Some(bias) => bias + hidden,
                None => hidden,
            });
        }
        options.bias = bias.map(|bias| {
            let [batch, heads, queries, _] = bias.dims();
            let free = Tensor::<B, 4>::zeros([batch, heads, queries, prefix], &device);
            Tensor::cat(vec![free.cast(FloatDType::from(bias.dtype())), bias], 3)
        });
        let [keys, values] = seen;
        [(&self.keys, keys), (&self.values, values)].map(|(prefix, tokens)| {
            let prefix = prefix.val().unsqueeze::<4>().repeat_dim(0, batch);
            Tensor::cat(vec![prefix, tokens], 1)
        })
    }
}

/// Which keys are too far from which queries, the last tokens: `[queries, keys]`.
fn outside<B: Backend>(
    window: usize,
    queries: usize,
    keys: usize,
    device: &B::Device,
) -> Tensor<B, 2, Bool> {
    let places = |from: usize| Tensor::<B, 1, Int>::arange(from as i64..keys as i64, device);
    let rows = places(keys - queries).reshape([queries, 1]);
    (rows - places(0).reshape([1, keys])).abs().greater_equal_elem(window as i64)
}
