//! Parity with the references' own outputs and gradients, for every fixture that is found; see
//! [`kiln_hub::testing`]. Tolerances, relative to the norm: outputs 1e-4, gradients 1e-3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod features;
mod wav2vec2;
mod whisper;

use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_hub::{
    Weight, Weights,
    testing::{Inputs, compare},
};
use std::{collections::BTreeMap, path::Path};

/// What a model puts out, by the reference's names, in row-major order.
type Outputs<B> = BTreeMap<&'static str, Tensor<B, 1>>;

/// Compares all outputs that the reference gives.
fn compare_outputs<B: Backend>(dir: &Path, found: &Outputs<B>, failures: &mut Vec<String>) {
    let expected = Weights::read_file(&dir.join("outputs.safetensors")).unwrap();
    for (name, weight) in &expected.tensors {
        match found.get(name.as_str()) {
            None => failures.push(format!("{}: unknown output {name}", dir.display())),
            Some(x) => {
                let values = kiln_hub::testing::values(x.clone());
                compare(dir, name, &values, &weight.values, 1e-4, 0.0, failures);
            }
        }
    }
}

fn flat<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

/// A tensor of whole numbers.
fn ids<B: Backend, const D: usize>(inputs: &Inputs, name: &str) -> Option<Tensor<B, D, Int>> {
    let Weight { shape, values } = inputs.get(&[name])?;
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    Some(Tensor::from_data(TensorData::new(values, shape), &Default::default()))
}

/// A directory with these weights under the fixture's configuration: for renaming.
fn with_weights(dir: &Path, weights: &Weights) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("config.json"), temporary.path().join("config.json")).unwrap();
    weights.write(&temporary.path().join("model.safetensors")).unwrap();
    temporary
}
