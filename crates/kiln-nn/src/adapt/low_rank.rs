//! What is put into linear layers: low-rank updates and factors of features.

use super::LoraConfig;
use crate::{Dropout, Linear};
use burn::{
    module::{Initializer, Module, Param},
    tensor::Tensor,
};
use kiln_core::Backend;
use kiln_kernels::{LoraWeights, linear, lora_linear};

/// LoRA: a low-rank update of a linear layer, <https://arxiv.org/abs/2106.09685>.
#[derive(Module, Debug)]
pub struct Lora<B: Backend> {
    /// `[inputs, rank]`
    pub down: Param<Tensor<B, 2>>,
    /// `[rank, outputs]`
    pub up: Param<Tensor<B, 2>>,
    dropout: Dropout,
    scale: f64,
    merged: bool,
}

impl<B: Backend> Lora<B> {
    /// One that changes nothing yet: `up` is zero.
    pub(super) fn new(
        config: &LoraConfig,
        [inputs, outputs]: [usize; 2],
        device: &B::Device,
    ) -> Self {
        // As PEFT has it, which is PyTorch's start of a linear layer.
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        Self {
            down: uniform.init([inputs, config.rank], device),
            up: Initializer::Zeros.init([config.rank, outputs], device),
            dropout: Dropout::new(config.dropout),
            scale: config.scale(),
            merged: false,
        }
    }

    /// The layer with its update, `[.., inputs]` to `[.., outputs]`. The layer's own weight gets no
    /// gradient.
    fn forward<const D: usize>(
        &self,
        x: Tensor<B, D>,
        (weight, bias): (Tensor<B, 2>, Option<Tensor<B, 1>>),
    ) -> Tensor<B, D> {
        if self.merged {
            return linear(x, weight, bias, None);
        }
        let (down, up) = (self.down.val(), self.up.val());
        if self.dropout.is_active::<B>(&x.device()) {
            let projected = linear(self.dropout.forward(x.clone()), down, None, None);
            let update = linear(projected, up, None, None).mul_scalar(self.scale);
            return linear(x, weight.detach(), bias, Some(update));
        }
        lora_linear(x, LoraWeights { weight, bias, down, up, scale: self.scale })
    }

    /// What it adds to the weight, `[inputs, outputs]`.
    fn update(&self) -> Tensor<B, 2> {
        self.down.val().matmul(self.up.val()).mul_scalar(self.scale)
    }
}

/// (IA)³: factors of the features that enter or leave a linear layer, <https://arxiv.org/abs/2205.05638>.
#[derive(Module, Debug)]
pub struct Ia3<B: Backend> {
    /// `[inputs]`
    pub inputs: Option<Param<Tensor<B, 1>>>,
    /// `[outputs]`
    pub outputs: Option<Param<Tensor<B, 1>>>,
}

fn multiply<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    factors: Option<&Param<Tensor<B, 1>>>,
) -> Tensor<B, D> {
    match factors {
        Some(factors) => x * factors.val().unsqueeze(),
        None => x,
    }
}

impl<B: Backend> Linear<B> {
    /// Gives the layer a low-rank update, which changes nothing yet.
    pub(super) fn add_lora(&mut self, config: &LoraConfig, device: &B::Device) {
        self.lora = Some(Lora::new(config, self.weight.dims(), device));
    }

    /// Gives the layer factors of its `inputs`, of its `outputs`, or of both, all one.
    pub(super) fn add_ia3(&mut self, [inputs, outputs]: [bool; 2], device: &B::Device) {
        let [from, to] = self.weight.dims();
        let ones = |features| Initializer::Ones.init([features], device);
        let (inputs, outputs) = (inputs.then(|| ones(from)), outputs.then(|| ones(to)));
        self.ia3 = Some(Ia3 { inputs, outputs });
    }

    /// The layer with what was put into it, `[.., inputs]` to `[.., outputs]`.
    pub(crate) fn adapted<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let own = self.tensors();
        let x = multiply(x, self.ia3.as_ref().and_then(|ia3| ia3.inputs.as_ref()));
        let out = match &self.lora {
            Some(lora) => lora.forward(x, own),
            None => linear(x, own.0, own.1, None),
        };
        multiply(out, self.ia3.as_ref().and_then(|ia3| ia3.outputs.as_ref()))
    }

    /// Adds the low-rank update to the weight, from which it is no longer apart.
    pub fn merge(&mut self) {
        self.shift(true);
    }

    /// Takes it off again.
    pub fn unmerge(&mut self) {
        self.shift(false);
    }

    fn shift(&mut self, merge: bool) {
        if let Some(lora) = self.lora.as_mut().filter(|lora| lora.merged != merge) {
            let update = lora.update();
            lora.merged = merge;
            change(
                &mut self.weight,
                |weight| if merge { weight + update } else { weight - update },
            );
        }
    }

    /// Makes what was put into the layer part of its weight and bias.
    pub(super) fn fold(&mut self) {
        self.merge();
        self.lora = None;
        let Some(Ia3 { inputs, outputs }) = self.ia3.take() else { return };
        if let Some(factors) = inputs {
            change(&mut self.weight, |weight| weight * factors.val().unsqueeze_dim(1));
        }
        if let Some(factors) = outputs {
            change(&mut self.weight, |weight| weight * factors.val().unsqueeze_dim(0));
            if let Some(bias) = &mut self.bias {
                change(bias, |bias| bias * factors.val());
            }
        }
    }
}

/// Other values for a parameter, which is trained as before.
fn change<B: Backend, const D: usize>(
    param: &mut Param<Tensor<B, D>>,
    values: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) {
    *param = param.clone().map(|old| {
        let trained = old.is_require_grad();
        values(old).detach().set_require_grad(trained)
    });
}
