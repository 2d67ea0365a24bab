//! Named tensors into a Burn module, and out of it.
//!
//! Names and layouts are PyTorch's: linear weights are `[out, in]`, norms have `weight` and
//! `bias`. burn-store's adapters translate to Burn's `[in, out]`, `gamma` and `beta`.

use crate::{HubError, LoadReport, Mismatch, Result, Weight, Weights};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Tensor, TensorData},
};
use burn_store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, TensorSnapshot};
use kiln_core::Backend;
use std::collections::BTreeSet;

/// What to do about tensors that do not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An error, and the module stays as it was: for models that must be complete.
    Strict,
    /// Take over what matches and report the rest: for starting weights.
    Lenient,
}

/// Puts tensors (in our names, PyTorch's layout) into a module, on the module's devices.
///
/// Integers that were kept aside are not looked at.
///
/// # Errors
/// In [`Mode::Strict`], when a tensor is missing, unused or of another shape; the module is
/// unchanged then.
pub fn apply<B: Backend, M: Module<B>>(
    module: &mut M,
    weights: &Weights,
    mode: Mode,
) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    let mut snapshots = Vec::new();
    // What the module expects, in PyTorch's names and layout; nothing is copied or drawn for this.
    let blank = module.clone().map(&mut Blank);
    let expected = blank.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    for snapshot in expected.iter().filter(|snapshot| is_float(snapshot.dtype)) {
        let name = snapshot.full_path();
        let shape = snapshot.shape.to_vec();
        match weights.tensors.get(&name) {
            None => report.missing.push(name),
            Some(weight) if weight.shape != shape => {
                let found = weight.shape.clone();
                report.mismatched.push(Mismatch { name, expected: shape, found });
            }
            Some(weight) => {
                let data =
                    TensorData::new(weight.values.clone(), shape).convert_dtype(snapshot.dtype);
                let path = name.split('.').map(str::to_owned).collect();
                let id = snapshot.tensor_id.unwrap_or_default();
                snapshots.push(TensorSnapshot::from_data(data, path, Vec::new(), id));
                report.loaded.push(name);
            }
        }
    }
    let known: std::collections::HashSet<String> =
        expected.iter().map(TensorSnapshot::full_path).collect();
    report.unused =
        weights.tensors.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
    report.loaded.sort();
    report.missing.sort();
    report.mismatched.sort_by(|left, right| left.name.cmp(&right.name));
    if mode == Mode::Strict && !report.is_complete() {
        return Err(HubError::Mismatch(Box::new(report)));
    }
    drop(expected);
    let result = module.apply(snapshots, None, Some(Box::new(PyTorchToBurnAdapter)), true);
    if let Some(error) = result.errors.first() {
        let tensor = "of the module".to_owned();
        return Err(HubError::Tensor { tensor, cause: error.to_string() });
    }
    Ok(report)
}

/// Copies a module's floating-point tensors, parameters and running statistics, to the host in
/// our names and PyTorch's layout.
///
/// # Errors
/// When the device fails.
pub fn collect<B: Backend, M: Module<B>>(module: &M) -> Result<Weights> {
    collect_where(module, |_| true)
}

/// The same of the tensors whose names are wanted.
///
/// # Errors
/// When the device fails.
pub fn collect_where<B: Backend, M: Module<B>>(
    module: &M,
    wanted: impl Fn(&str) -> bool,
) -> Result<Weights> {
    let mut weights = Weights::default();
    for snapshot in module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true) {
        let tensor = snapshot.full_path();
        if !is_float(snapshot.dtype) || !wanted(&tensor) {
            continue;
        }
        let wrong = |cause: String| HubError::Tensor { tensor: tensor.clone(), cause };
        let data = snapshot.to_data().map_err(|error| wrong(error.to_string()))?;
        let shape = data.shape.to_vec();
        let values =
            data.convert::<f32>().into_vec::<f32>().map_err(|error| wrong(format!("{error:?}")))?;
        weights.tensors.insert(tensor, Weight { shape, values });
    }
    Ok(weights)
}

/// The names of a module's floating-point tensors.
pub fn names<B: Backend, M: Module<B>>(module: &M) -> BTreeSet<String> {
    let all = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let floats = all.iter().filter(|snapshot| is_float(snapshot.dtype));
    floats.map(TensorSnapshot::full_path).collect()
}

/// Zeros in the place of random weights that were not drawn yet: they are only looked at for their
/// shapes, and to draw them takes longer than to read a file.
struct Blank;

impl<B: Backend> ModuleMapper<B> for Blank {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if param.is_initialized() {
            return param;
        }
        let zeros = Tensor::zeros(param.lazy_shape(), &param.lazy_device());
        Param::initialized(param.id, zeros)
    }
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::Flex32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{
        nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig},
        tensor::{Tensor, backend::Backend as BurnBackend},
    };

    type B = burn_flex::Flex;

    #[derive(Module, Debug)]
    enum Norm<B: BurnBackend> {
        Layer(LayerNorm<B>),
        Batch(BatchNorm<B>),
    }

    #[derive(Module, Debug)]
    struct Model<B: BurnBackend> {
        layers: Vec<Linear<B>>,
        norm: Norm<B>,
    }

    fn model(batch: bool) -> Model<B> {
        let device = Default::default();
        let norm = if batch {
            Norm::Batch(BatchNormConfig::new(2).init(&device))
        } else {
            Norm::Layer(LayerNormConfig::new(2).init(&device))
        };
        let layers = vec![LinearConfig::new(3, 2).init(&device)];
        Model { layers, norm }
    }

    fn weights(batch: bool) -> Weights {
        let mut weights = Weights::default();
        let mut add = |name: &str, shape: &[usize], values: &[f32]| {
            let weight = Weight { shape: shape.to_vec(), values: values.to_vec() };
            weights.tensors.insert(name.into(), weight);
        };
        add("layers.0.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        add("layers.0.bias", &[2], &[0.5, -0.5]);
        add("norm.weight", &[2], &[2.0, 3.0]);
        add("norm.bias", &[2], &[7.0, 8.0]);
        if batch {
            add("norm.running_mean", &[2], &[0.1, 0.2]);
            add("norm.running_var", &[2], &[0.9, 0.8]);
        }
        weights
    }

    #[test]
    fn linear_weights_are_transposed_and_norms_renamed() {
        let mut model = model(false);
        let report = apply::<B, _>(&mut model, &weights(false), Mode::Strict).unwrap();
        assert_eq!(report.loaded, ["layers.0.bias", "layers.0.weight", "norm.bias", "norm.weight"]);
        let input = Tensor::<B, 2>::from_data([[1.0, 1.0, 1.0]], &Default::default());
        let output = model.layers[0].forward(input).into_data().to_vec::<f32>().unwrap();
        assert_eq!(output, [6.5, 14.5]);
        let Norm::Layer(norm) = &model.norm else { panic!() };
        assert_eq!(norm.gamma.val().into_data().to_vec::<f32>().unwrap(), [2.0, 3.0]);
        assert_eq!(collect::<B, _>(&model).unwrap(), weights(false));
    }

    #[test]
    fn running_statistics_are_loaded_and_saved() {
        let mut model = model(true);
        let mut with_counter = weights(true);
        with_counter.insert_i64("norm.num_batches_tracked", 3);
        apply::<B, _>(&mut model, &with_counter, Mode::Strict).unwrap();
        assert_eq!(collect::<B, _>(&model).unwrap(), weights(true));
    }

    #[test]
    fn strict_names_everything_and_changes_nothing() {
        let mut model = model(false);
        let before = collect::<B, _>(&model).unwrap();
        let mut wrong = weights(false);
        wrong.tensors.remove("norm.bias");
        wrong.tensors.insert("head.weight".into(), Weight::zeros(&[1]));
        wrong.tensors.insert("layers.0.weight".into(), Weight::zeros(&[3, 2]));
        let error = apply::<B, _>(&mut model, &wrong, Mode::Strict).unwrap_err().to_string();
        for expected in ["norm.bias", "head.weight", "layers.0.weight", "[2, 3]", "[3, 2]"] {
            assert!(error.contains(expected), "{expected} in {error}");
        }
        assert_eq!(collect::<B, _>(&model).unwrap(), before);

        let report = apply::<B, _>(&mut model, &wrong, Mode::Lenient).unwrap();
        assert_eq!(report.loaded, ["layers.0.bias", "norm.weight"]);
        assert_eq!(report.missing, ["norm.bias"]);
        assert_eq!(report.unused, ["head.weight"]);
        let shapes = &report.mismatched[0];
        assert_eq!((&shapes.expected[..], &shapes.found[..]), (&[2, 3][..], &[3, 2][..]));
        let after = collect::<B, _>(&model).unwrap();
        assert_eq!(after.tensors["layers.0.bias"].values, [0.5, -0.5]);
        assert_eq!(after.tensors["layers.0.weight"], before.tensors["layers.0.weight"]);
    }
}
