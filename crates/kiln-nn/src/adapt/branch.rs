//! What is put beside and after attention and feed-forward: small feed-forward blocks.

use crate::{Activation, Linear, LinearConfig};
use burn::{
    module::{Initializer, Module},
    tensor::Tensor,
};
use kiln_core::Backend;
use kiln_kernels::activate;

/// Bottleneck adapter: two small linear layers with an activation between them.
#[derive(Module, Debug)]
pub struct Bottleneck<B: Backend> {
    /// Down projection.
    pub down: Linear<B>,
    /// Up projection.
    pub up: Linear<B>,
    scale: f64,
    #[module(skip)]
    activation: Activation,
}

impl<B: Backend> Bottleneck<B> {
    /// From `inputs` over `width` to `outputs` features; what comes out is zero at first.
    pub(super) fn new(
        [inputs, width, outputs]: [usize; 3],
        activation: Activation,
        scale: f64,
        device: &B::Device,
    ) -> Self {
        let mut up = LinearConfig::new(width, outputs).init(device);
        up.weight = Initializer::Zeros.init([width, outputs], device);
        up.bias = Some(Initializer::Zeros.init([outputs], device));
        Self { down: LinearConfig::new(inputs, width).init(device), up, scale, activation }
    }

    /// `[batch, tokens, inputs]` to `[batch, tokens, outputs]`.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let (hidden, bias) = self.down.forward_apart(x);
        let out = self.up.forward(activate(hidden, bias, self.activation));
        if self.scale == 1.0 { out } else { out.mul_scalar(self.scale) }
    }
}

/// The adapters of a block that adds to the residual stream; none by default.
#[derive(Module, Debug)]
pub struct BranchAdapters<B: Backend> {
    /// After the block, with a residual of its own: <https://arxiv.org/abs/1902.00751>.
    pub bottleneck: Option<Bottleneck<B>>,
    /// Beside the block: <https://arxiv.org/abs/2110.04366>.
    pub parallel: Option<Bottleneck<B>>,
}

impl<B: Backend> BranchAdapters<B> {
    /// None.
    pub(crate) fn none() -> Self {
        Self { bottleneck: None, parallel: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bottleneck.is_none() && self.parallel.is_none()
    }

    /// What enters the block, where an adapter beside it needs it, too.
    pub(crate) fn keep(&self, x: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        self.parallel.is_some().then(|| x.clone())
    }

    /// What the block gave with what the adapters add; `kept` is what entered.
    pub(crate) fn forward(
        &self,
        kept: Option<Tensor<B, 3>>,
        mut out: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        if let Some(bottleneck) = &self.bottleneck {
            out = out.clone() + bottleneck.forward(out);
        }
        match (&self.parallel, kept) {
            (Some(parallel), Some(x)) => out + parallel.forward(x),
            _ => out,
        }
    }
}
