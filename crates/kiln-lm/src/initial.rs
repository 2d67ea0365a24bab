//! Initialisation of weights.

use crate::config::TextModelConfig;
use burn::{
    module::{ModuleMapper, Param},
    tensor::{Distribution, Tensor},
};
use kiln_core::Backend;

/// Normal initialisation: weights of one deviation, and biases of zero. Where norms come first, what is added to the
/// residual stream is smaller by the root of how often that is, as in GPT-2.
pub(crate) struct NormalStart {
    deviation: f64,
    added: f64,
    path: Vec<String>,
}

impl NormalStart {
    pub(crate) fn new(deviation: f64, config: &TextModelConfig) -> Self {
        let often = 2.0 * (config.backbone.layers + config.branch_layers()) as f64;
        let added = if config.backbone.pre_norm { deviation / often.sqrt() } else { deviation };
        Self { deviation, added, path: Vec::new() }
    }
}

impl<B: Backend> ModuleMapper<B> for NormalStart {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let named = |name: &str| self.path.iter().any(|part| part == name);
        if D == 2 {
            let added = named("layers") && named("output");
            let deviation = if added { self.added } else { self.deviation };
            let normal = Distribution::Normal(0.0, deviation);
            renewed(param, |x| Tensor::random(x.shape(), normal, &x.device()))
        } else if named("bias") {
            renewed(param, |x| x.zeros_like())
        } else {
            param
        }
    }
}

/// A parameter with other values, trained like the one before.
fn renewed<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    values: impl FnOnce(&Tensor<B, D>) -> Tensor<B, D>,
) -> Param<Tensor<B, D>> {
    param.map(|old| values(&old).set_require_grad(old.is_require_grad()))
}
