//! Parity with references: their inputs, outputs and gradients, and how far ours are off.
//!
//! `KILN_FIXTURES` names the folder (`<family>/<name>/`: a model directory with inputs and outputs);
//! `KILN_PYTHON`, where given, is a Python with the references' libraries, which then loads what was
//! written here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "for tests only")]

use crate::{
    Weight, Weights,
    family::{PublishedConfig, read_config},
    json_file::CONFIG,
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use kiln_core::{AutodiffBackend, Backend};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// Why a directory with this `config.json` cannot be read.
///
/// # Panics
/// When it can.
pub fn config_error<C: PublishedConfig>(json: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CONFIG), json).unwrap();
    read_config::<C>(dir.path()).err().expect("an error").to_string()
}

/// The fixtures of a family, sorted; says that it skipped, and gives none, where there are none.
///
/// # Panics
/// When the folder is there but empty.
pub fn fixtures(family: &str) -> Vec<PathBuf> {
    let folder = kiln_core::testing::fixture(family);
    folder.map(|folder| folders(&folder)).unwrap_or_default()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut dirs: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no fixtures in {}", folder.display());
    dirs
}

/// Runs a check on every fixture of a family, says how each went, and fails if one did.
///
/// # Panics
/// When a check reports a failure.
pub fn each_fixture(family: &str, check: impl Fn(&Path, &mut Vec<String>)) {
    each(family, fixtures(family), check);
}

/// The same with fixtures that a script of Python's makes in the folder that it is given, after the
/// family; says that it skipped where `KILN_PYTHON` names no Python that has what it takes.
///
/// # Panics
/// When the script fails or makes none, or a check reports a failure.
pub fn each_made(script: &str, family: &str, check: impl Fn(&Path, &mut Vec<String>)) {
    let Ok(python) = std::env::var("KILN_PYTHON") else {
        println!("skipped: KILN_PYTHON may name a Python with the references' libraries");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(python).args(["-c", script, family]).arg(folder.path()).output().unwrap();
    if output.status.code() == Some(77) {
        println!("skipped: this Python cannot make {family}");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    each(family, folders(folder.path()), check);
}

fn each(family: &str, dirs: Vec<PathBuf>, check: impl Fn(&Path, &mut Vec<String>)) {
    let mut failures = Vec::new();
    for dir in dirs {
        let before = failures.len();
        check(&dir, &mut failures);
        let verdict = if failures.len() == before { "ok" } else { "FAILED" };
        println!("{family}/{}: {verdict}", dir.file_name().unwrap().to_string_lossy());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Tensors of a fixture, by the reference's names.
#[derive(Debug)]
pub struct Inputs(Weights);

impl Inputs {
    /// Reads `inputs.safetensors`.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(dir: &Path) -> Self {
        Self::read_file(&dir.join("inputs.safetensors"))
    }

    /// Reads any file of tensors.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read_file(path: &Path) -> Self {
        Self(Weights::read_file(path).unwrap())
    }

    /// The first tensor of these names as shape and floats, whatever its type.
    pub fn get(&self, names: &[&str]) -> Option<Weight> {
        names.iter().find_map(|name| {
            self.0.tensors.get(*name).cloned().or_else(|| {
                let raw = self.0.passthrough.get(*name)?;
                let size = raw.bytes.len() / raw.shape.iter().product::<usize>().max(1);
                let values = raw
                    .bytes
                    .chunks(size)
                    .map(|bytes| match bytes {
                        [byte] => f32::from(*byte),
                        [a, b, c, d] => i32::from_le_bytes([*a, *b, *c, *d]) as f32,
                        bytes => i64::from_le_bytes(bytes.try_into().unwrap()) as f32,
                    })
                    .collect();
                Some(Weight { shape: raw.shape.clone(), values })
            })
        })
    }

    /// The tensor of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn tensor<B: Backend, const D: usize>(&self, name: &str) -> Tensor<B, D> {
        tensor(&self.get(&[name]).unwrap_or_else(|| panic!("no {name}")))
    }
}

/// A tensor on the default device.
pub fn tensor<B: Backend, const D: usize>(weight: &Weight) -> Tensor<B, D> {
    let data = TensorData::new(weight.values.clone(), weight.shape.clone());
    Tensor::from_data(data, &Default::default())
}

/// The values of a tensor in row-major order.
pub fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().convert::<f32>().to_vec().unwrap()
}

/// Notes as a failure where `found` is further from `expected` than `tolerance` of its norm, or of
/// `least` where that is more.
///
/// # Panics
/// When the lengths differ.
pub fn compare(
    dir: &Path,
    name: &str,
    found: &[f32],
    expected: &[f32],
    tolerance: f64,
    least: f64,
    failures: &mut Vec<String>,
) {
    assert_eq!(found.len(), expected.len(), "{}: {name}", dir.display());
    let square = |values: &mut dyn Iterator<Item = f64>| {
        values.map(|value| value * value).sum::<f64>().sqrt()
    };
    let pairs = || found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let error = square(&mut pairs().map(|(a, b)| a - b));
    let size = square(&mut pairs().map(|(_, b)| b)).max(least).max(1e-12);
    if error.is_nan() || error > tolerance * size {
        failures.push(format!(
            "{}: {name} is off by {:.3e} of its norm (allowed {tolerance:.0e})",
            dir.display(),
            error / size
        ));
    }
}

/// The gradients of a module's parameters.
#[derive(Debug)]
pub struct Gradients {
    /// Shape and values by our names, in our layout.
    pub found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// The norm over all.
    pub norm: f64,
}

impl Gradients {
    /// Takes them out of a backward pass.
    pub fn of<B: AutodiffBackend, M: Module<B>>(module: &M, gradients: &B::Gradients) -> Self {
        let mut collector =
            Collector::<B> { gradients, path: Vec::new(), found: BTreeMap::new(), square: 0.0 };
        module.visit(&mut collector);
        Self { found: collector.found, norm: collector.square.sqrt() }
    }

    /// Compares with `grads.safetensors`, if it is there, to 1e-3, and with the norm over all that
    /// its header tells. `rename` gives the file's tensors our names.
    ///
    /// # Panics
    /// When the file cannot be read.
    pub fn compare(
        &self,
        dir: &Path,
        rename: impl FnOnce(&Weights) -> BTreeMap<String, Weight>,
        failures: &mut Vec<String>,
    ) {
        let path = dir.join("grads.safetensors");
        if !path.exists() {
            return;
        }
        let expected = Weights::read_file(&path).unwrap();
        let ours = rename(&expected);
        assert!(ours.len() >= expected.tensors.len(), "names got lost");
        for (name, weight) in &ours {
            let Some((shape, values)) = self.found.get(name) else {
                failures.push(format!("{}: no gradient of {name}", dir.display()));
                continue;
            };
            // A bias of keys has no effect, so that its gradient is rounding alone.
            let what = format!("gradient of {name}");
            let turned = as_theirs(name, shape, values, weight);
            compare(dir, &what, &turned, &weight.values, 1e-3, 1e-3 * self.norm, failures);
        }
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let told = header.metadata().as_ref().and_then(|pairs| pairs.get("global_grad_norm"));
        if let Some(expected) = told.map(|told| told.parse::<f64>().unwrap())
            && (self.norm - expected).abs() > 1e-3 * expected
        {
            failures.push(format!(
                "{}: gradient norm {}, the reference's {expected}",
                dir.display(),
                self.norm
            ));
        }
    }
}

/// Linear weights are `[in, out]` here and `[out, in]` there; tables of embeddings are the same, which
/// only their name tells where they are square.
fn as_theirs(name: &str, shape: &[usize], values: &[f32], theirs: &Weight) -> Vec<f32> {
    match shape {
        &[from, to]
            if theirs.shape == [to, from]
                && name.ends_with("weight")
                && (from != to || !name.contains("embedding")) =>
        {
            (0..to)
                .flat_map(|o| (0..from).map(move |i| (i, o)))
                .map(|(i, o)| values[i * to + o])
                .collect()
        }
        _ => values.to_vec(),
    }
}

struct Collector<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    path: Vec<String>,
    found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    square: f64,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collector<'_, B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(if container.starts_with("Enum:") {
            String::new()
        } else {
            name.to_owned()
        });
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let shape = gradient.dims().to_vec();
            let values: Vec<f32> = gradient.into_data().to_vec().unwrap();
            self.square += values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            let name: Vec<&str> =
                self.path.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            self.found.insert(name.join("."), (shape, values));
        }
    }
}

/// Compares names, types, shapes and bytes of the weights of two model directories. `spelling`
/// makes names equal that mean the same.
///
/// # Panics
/// When one cannot be read.
pub fn same_weights(
    original: &Path,
    written: &Path,
    spelling: impl Fn(&str) -> String,
    failures: &mut Vec<String>,
) {
    let read_bytes = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    let (theirs, ours) = (read_bytes(original), read_bytes(written));
    let theirs = safetensors::SafeTensors::deserialize(&theirs).unwrap();
    let ours = safetensors::SafeTensors::deserialize(&ours).unwrap();
    let names = |file: &safetensors::SafeTensors<'_>| -> BTreeMap<String, String> {
        file.names().into_iter().map(|name| (spelling(name), name.to_owned())).collect()
    };
    let (their_names, our_names) = (names(&theirs), names(&ours));
    if !their_names.keys().eq(our_names.keys()) {
        failures.push(format!("{}: wrote {:?}", original.display(), our_names.values()));
        return;
    }
    for (name, theirs_name) in &their_names {
        let (a, b) = (theirs.tensor(theirs_name).unwrap(), ours.tensor(&our_names[name]).unwrap());
        if a.dtype() != b.dtype() || a.shape() != b.shape() || a.data() != b.data() {
            failures.push(format!("{}: {name} changed on its way through", original.display()));
        }
    }
}

/// Lets the reference's own library, if `KILN_PYTHON` names a Python that has it, load what was
/// written and compare its weights with the original's.
///
/// # Panics
/// When Python cannot be started.
pub fn python_reads(original: &Path, written: &Path, failures: &mut Vec<String>) {
    let Ok(python) = std::env::var("KILN_PYTHON") else { return };
    let script = include_str!("../tests/python/check_model_dir.py");
    let output =
        Command::new(python).args(["-c", script]).arg(written).arg(original).output().unwrap();
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        failures
            .push(format!("{}: Python refuses what was written: {message}", original.display()));
    }
}

/// Lets `peft`, if `KILN_PYTHON` names a Python that has it, load the adapters of written model
/// directories upon their bases, and compare its scores with those beside them,
/// `scores.safetensors`.
///
/// # Panics
/// When Python cannot be started.
pub fn python_adapts(written: &[PathBuf], failures: &mut Vec<String>) {
    let Ok(python) = std::env::var("KILN_PYTHON") else { return };
    let script = include_str!("../tests/python/check_adapter.py");
    let output = Command::new(python).args(["-c", script]).args(written).output().unwrap();
    match output.status.code() {
        Some(0) => {}
        Some(77) => eprintln!("skipped: this Python has no peft"),
        _ => {
            let message = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("PEFT disagrees: {message}"));
        }
    }
}
