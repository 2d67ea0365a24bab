//! Named parameters of a module: list, replace, freeze, cast; a state dict.
//!
//! Names are the paths that `burn-store` collects with enum variants left out, such as
//! `encoder.blocks.0.attention.query.weight`, so that a checkpoint, a model file, `freeze` patterns
//! and optimizer states all speak of the same thing.

use burn::{
    module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Bool, FloatDType, Int, Tensor},
};
use kiln_core::{AutodiffBackend, Backend};
use std::collections::BTreeMap;

/// Flattened tensors by the name of their parameter, `[elements]` each.
pub(crate) type Flat<B> = BTreeMap<String, Tensor<B, 1>>;

/// A float parameter, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedShape {
    /// Its path.
    pub path: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Whether gradients reach it; running statistics and frozen weights are not trainable.
    pub trainable: bool,
}

/// Lists the float parameters in the module's order, initialising each that still waits for it.
pub fn list<B: Backend, M: Module<B>>(module: &M) -> Vec<NamedShape> {
    let mut lister = Lister { path: Path::default(), found: Vec::new() };
    module.visit(&mut lister);
    lister.found
}

/// Every float parameter of an inner module, flattened.
pub(crate) fn weights<B: Backend, M: Module<B>>(module: &M) -> Flat<B> {
    let mut reader = Reader { path: Path::default(), found: BTreeMap::new() };
    module.visit(&mut reader);
    reader.found
}

/// Moves the gradients of `module`'s parameters out of `gradients`, adding them to `accumulated`.
pub(crate) fn add_gradients<B: AutodiffBackend, M: Module<B>>(
    module: &M,
    gradients: B::Gradients,
    accumulated: &mut Flat<B::InnerBackend>,
) {
    let mut collector = GradientCollector::<B> { path: Path::default(), gradients, accumulated };
    module.visit(&mut collector);
}

/// Takes the values of parameters out of a module under autodiff, flattened, and leaves empty
/// tensors in their place until [`put`] brings new ones.
///
/// With the module gone the values have one owner, and an optimizer may change them where they lie.
pub(crate) fn take<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: M,
    wants: impl Fn(&str) -> bool,
) -> (M, Flat<B::InnerBackend>) {
    let mut taker = Taker::<B, _> { path: Path::default(), wants, taken: BTreeMap::new() };
    let module = module.map(&mut taker);
    (module, taker.taken)
}

/// Puts flattened values in the place of the parameters that they are named after, in the shape
/// that `shape` tells. Gradient requirements stay.
pub(crate) fn put<'a, B: AutodiffBackend, M: AutodiffModule<B>>(
    module: M,
    values: Flat<B::InnerBackend>,
    shape: impl Fn(&str) -> Option<&'a [usize]>,
) -> M {
    module.map(&mut Putter::<B, _> { path: Path::default(), values, shape })
}

/// Puts flattened values in the place of an inner module's parameters, where a name is given.
pub(crate) fn replace<B: Backend, M: Module<B>>(module: M, values: &Flat<B>) -> M {
    module.map(&mut Replacer { path: Path::default(), values })
}

/// Sets whether gradients reach a parameter.
pub(crate) fn freeze<B: AutodiffBackend, M: Module<B>>(
    module: M,
    frozen: impl Fn(&str) -> bool,
) -> M {
    module.map(&mut Freezer { path: Path::default(), frozen })
}

/// Parameters in another type. Gradients go through to the parameters of `module`.
pub(crate) fn cast<B: Backend, M: Module<B>>(
    module: M,
    dtype: FloatDType,
    wants: impl Fn(&str) -> bool,
) -> M {
    module.map(&mut Caster { path: Path::default(), dtype, wants })
}

/// The way from the root to where a visitor stands.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

/// The two methods that all visitors and mappers share.
macro_rules! track_path {
    () => {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.path.exit(container_type);
        }
    };
}

struct Lister {
    path: Path,
    found: Vec<NamedShape>,
}

impl<B: Backend> ModuleVisitor<B> for Lister {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        self.found.push(NamedShape {
            path: self.path.name(),
            shape: tensor.dims().to_vec(),
            trainable: tensor.is_require_grad(),
        });
    }

    // Nothing to list, but these must draw their random numbers at their turn as well.
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<B, D, Int>>) {
        param.val();
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<B, D, Bool>>) {
        param.val();
    }
}

struct Reader<B: Backend> {
    path: Path,
    found: Flat<B>,
}

impl<B: Backend> ModuleVisitor<B> for Reader<B> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.insert(self.path.name(), flatten(param.val()));
    }
}

struct GradientCollector<'a, B: AutodiffBackend> {
    path: Path,
    gradients: B::Gradients,
    accumulated: &'a mut Flat<B::InnerBackend>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientCollector<'_, B> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else {
            return;
        };
        let gradient = flatten(gradient);
        let name = self.path.name();
        let gradient = match self.accumulated.remove(&name) {
            Some(accumulated) => accumulated + gradient,
            None => gradient,
        };
        self.accumulated.insert(name, gradient);
    }
}

struct Taker<B: AutodiffBackend, W> {
    path: Path,
    wants: W,
    taken: Flat<B::InnerBackend>,
}

impl<B: AutodiffBackend, W: Fn(&str) -> bool> ModuleMapper<B> for Taker<B, W> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.name();
        if !(self.wants)(&name) {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let (device, trainable) = (tensor.device(), tensor.is_require_grad());
        self.taken.insert(name, flatten(tensor.inner()));
        let empty = Tensor::zeros([0; D], &device).set_require_grad(trainable);
        Param::from_mapped_value(id, empty, mapper)
    }
}

struct Putter<B: AutodiffBackend, S> {
    path: Path,
    values: Flat<B::InnerBackend>,
    shape: S,
}

impl<'a, B: AutodiffBackend, S: Fn(&str) -> Option<&'a [usize]>> ModuleMapper<B> for Putter<B, S> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.name();
        let shape = (self.shape)(&name).and_then(|shape| <[usize; D]>::try_from(shape).ok());
        let (Some(shape), Some(values)) = (shape, self.values.remove(&name)) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let trainable = tensor.is_require_grad();
        let tensor = Tensor::from_inner(values.reshape(shape)).set_require_grad(trainable);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

struct Replacer<'a, B: Backend> {
    path: Path,
    values: &'a Flat<B>,
}

impl<B: Backend> ModuleMapper<B> for Replacer<'_, B> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(values) = self.values.get(&self.path.name()) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, values.clone().reshape(tensor.dims()), mapper)
    }
}

struct Freezer<F> {
    path: Path,
    frozen: F,
}

impl<B: Backend, F: Fn(&str) -> bool> ModuleMapper<B> for Freezer<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if (self.frozen)(&self.path.name()) { param.set_require_grad(false) } else { param }
    }
}

struct Caster<F> {
    path: Path,
    dtype: FloatDType,
    wants: F,
}

impl<B: Backend, F: Fn(&str) -> bool> ModuleMapper<B> for Caster<F> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if (self.wants)(&self.path.name()) { param.map(|x| x.cast(self.dtype)) } else { param }
    }
}

fn flatten<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let elements = tensor.shape().num_elements();
    tensor.reshape([elements])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{
        backend::Autodiff,
        nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    };
    use burn_flex::Flex;

    type B = Autodiff<Flex>;

    #[derive(Module, Debug)]
    enum Choice<B: burn::tensor::backend::Backend> {
        Dense(Linear<B>),
    }

    #[derive(Module, Debug)]
    struct Net<B: burn::tensor::backend::Backend> {
        blocks: Vec<Choice<B>>,
        norm: BatchNorm<B>,
    }

    #[test]
    fn names_leave_out_variants_and_tell_buffers_apart() {
        let _turn = crate::testing::alone();
        let device = Default::default();
        let net = Net::<B> {
            blocks: vec![Choice::Dense(LinearConfig::new(2, 3).init(&device))],
            norm: BatchNormConfig::new(3).init(&device),
        };
        let listed: Vec<_> =
            list(&net).into_iter().map(|p| (p.path, p.shape, p.trainable)).collect();
        let expected = [
            ("blocks.0.weight", vec![2, 3], true),
            ("blocks.0.bias", vec![3], true),
            ("norm.gamma", vec![3], true),
            ("norm.beta", vec![3], true),
            ("norm.running_mean", vec![3], false),
            ("norm.running_var", vec![3], false),
        ]
        .map(|(path, shape, trainable)| (path.to_owned(), shape, trainable));
        assert_eq!(listed, expected);
        let frozen = freeze::<B, _>(net, |path| path.starts_with("blocks"));
        assert!(list(&frozen).iter().all(|p| !p.path.starts_with("blocks") || !p.trainable));
    }
}
