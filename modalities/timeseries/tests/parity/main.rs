//! Parity with the references' own outputs and gradients, for every fixture that is found.
//!
//! `KILN_FIXTURES` names the folder (`<family>/<name>/`: a model directory with inputs and
//! outputs); `KILN_PYTHON`, where given, is a Python with transformers and granite-tsfm that then
//! loads what was written here. Tolerances, relative to the norm: outputs 1e-4, gradients 1e-3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod inputs;
mod round_trip;

use burn::{
    backend::Autodiff,
    module::{Module, ModuleVisitor, Param},
    tensor::{Bool, Tensor, backend::AutodiffBackend},
};
use burn_flex::Flex;
use inputs::{Inputs, tensor};
use kiln_core::{Backend, View};
use kiln_hub::{Weight, Weights};
use kiln_nn::{BackboneConfig, NormConfig};
use kiln_timeseries::{
    SeriesBatch, SeriesModel, SeriesModelConfig,
    head::{ForecastConfig, loss::Units},
    hub::{load_model, read},
};
use round_trip::round_trip;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

type A = Autodiff<Flex>;

#[test]
fn parity_patchtst() {
    family("patchtst");
}

#[test]
fn parity_patchtsmixer() {
    family("patchtsmixer");
}

#[test]
fn parity_tinytimemixer() {
    family("tinytimemixer");
}

fn family(name: &str) {
    let root = std::env::var("KILN_FIXTURES").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(name)) else {
        println!("skipped: no fixtures in {}", root.join(name).display());
        return;
    };
    let mut dirs: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no fixtures in {}", root.join(name).display());
    let mut failures = Vec::new();
    for dir in dirs {
        let before = failures.len();
        match load_model::<Flex>(&dir, &Default::default()) {
            Ok((model, _)) => {
                outputs(&dir, &model, &mut failures);
                gradients(&dir, &mut failures);
                round_trip(&dir, &mut failures);
            }
            Err(error) => failures.push(error.to_string()),
        }
        let verdict = if failures.len() == before { "ok" } else { "FAILED" };
        println!("{name}/{}: {verdict}", dir.file_name().unwrap().to_string_lossy());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Everything that a reference puts out, by its names.
fn run<B: Backend>(
    model: &SeriesModel<B>,
    inputs: &Inputs,
) -> BTreeMap<String, (Vec<usize>, Tensor<B, 1>)> {
    let config = model.config();
    let batch = inputs.batch::<B>(config);
    let [items, _, channels] = batch.dims();
    let mut found = BTreeMap::new();
    let flat = |x: Tensor<B, 3>| {
        let count = x.shape().num_elements();
        (x.dims().to_vec(), x.reshape([count]))
    };
    let by_channel = |x: Tensor<B, 3>| {
        let [_, tokens, width] = x.dims();
        let count = x.shape().num_elements();
        (vec![items, channels, tokens, width], x.reshape([count]))
    };
    if model.token_head.is_some() {
        pretraining(model, inputs, &batch, &mut found);
        return found;
    }
    let encoded = model.encode_all(&batch, View::default());
    let decoded = model.decode_tokens(&encoded);
    found.insert("last_hidden_state".into(), by_channel(encoded.tokens.values.clone()));
    found.insert("backbone_hidden_state".into(), by_channel(encoded.tokens.values));
    found.insert("decoder_hidden_state".into(), by_channel(decoded.values));
    let forecast = model.forecast_scaled(&batch).unwrap();
    if let Some(distribution) = config.loss.distribution() {
        // With a future the reference scales a negative binomial's logits in place.
        let mapped = distribution.domain(forecast.output.parameters, &forecast.scale);
        for (at, parameter) in mapped.into_iter().enumerate() {
            found.insert(format!("distribution_params.{at}"), flat(parameter.clone()));
            found.insert(format!("prediction_outputs.{at}"), flat(parameter));
        }
    } else {
        let point = model.predict(&batch).unwrap().point;
        found.insert("prediction_outputs".into(), flat(point));
    }
    found.insert("loc".into(), flat(forecast.loc));
    found.insert("scale".into(), flat(forecast.scale));
    if let Some(loss) = model.forecast_loss(&batch, Units::Data, false) {
        found.insert("loss".into(), (vec![], loss.value));
    }
    found
}

/// Masked pretraining with the mask that the reference drew.
fn pretraining<B: Backend>(
    model: &SeriesModel<B>,
    inputs: &Inputs,
    batch: &SeriesBatch<B>,
    found: &mut BTreeMap<String, (Vec<usize>, Tensor<B, 1>)>,
) {
    let [items, _, channels] = batch.dims();
    let mask: Tensor<B, 3> = tensor(&inputs.get(&["mask"]).expect("pretraining needs the mask"));
    let mask = mask.reshape([items * channels, model.config().patches()]);
    let hide: Tensor<B, 2, Bool> = mask.clone().greater_elem(0.5);
    let encoded = model.encode_all(batch, View { hide: Some(hide), causal: false });
    let [_, all, width] = encoded.tokens.dims();
    let hidden = encoded.tokens.values.clone();
    let count = hidden.shape().num_elements();
    found.insert(
        "last_hidden_state".into(),
        (vec![items, channels, all, width], hidden.reshape([count])),
    );
    let decoded = model.token_head.as_ref().unwrap().forward(encoded.tokens.values);
    let [_, tokens, patch] = encoded.patches.dims();
    let decoded = decoded.narrow(1, all - tokens, tokens);
    let error = (decoded.clone() - encoded.patches).square().mean_dim(2).squeeze_dim::<2>(2);
    let loss = (error * mask.clone()).sum() / mask.sum().add_scalar(1e-10);
    let count = decoded.shape().num_elements();
    let flat = (vec![items, channels, tokens, patch], decoded.reshape([count]));
    found.insert("prediction_output".into(), flat.clone());
    found.insert("prediction_outputs".into(), flat);
    found.insert("loss".into(), (vec![], loss));
    let [_, _, channels] = batch.dims();
    for (name, x) in [("loc", encoded.scaled.loc), ("scale", encoded.scaled.scale)] {
        found.insert(name.into(), (vec![items, 1, channels], x.reshape([items * channels])));
    }
}

fn outputs(dir: &Path, model: &SeriesModel<Flex>, failures: &mut Vec<String>) {
    let found = run(model, &Inputs::read(dir));
    let expected = Weights::read_file(&dir.join("outputs.safetensors")).unwrap();
    for (name, weight) in &expected.tensors {
        match found.get(name) {
            None => failures.push(format!("{}: unknown output {name}", dir.display())),
            Some((shape, _)) if *shape != weight.shape => failures.push(format!(
                "{}: {name} is {shape:?}, the reference's {:?}",
                dir.display(),
                weight.shape
            )),
            Some((_, x)) => {
                compare(dir, name, &values(x.clone()), &weight.values, 1e-4, 0.0, failures)
            }
        }
    }
}

fn gradients(dir: &Path, failures: &mut Vec<String>) {
    let path = dir.join("grads.safetensors");
    if !path.exists() {
        return;
    }
    // Evaluation mode with gradients: no dropout, batch norm by its running statistics.
    let (config, weights) = read(dir).unwrap();
    let mut model = SeriesModel::<A>::new(still(config), &Default::default()).unwrap();
    kiln_hub::apply::<A, _>(&mut model, &weights, kiln_hub::Mode::Strict).unwrap();
    let loss = run(&model, &Inputs::read(dir)).remove("loss").unwrap().1;
    let gradients = loss.backward();
    let mut collected =
        Gradients { gradients: &gradients, path: Vec::new(), found: BTreeMap::new(), square: 0.0 };
    model.visit(&mut collected);
    let (found, norm) = (collected.found, collected.square.sqrt());

    let expected = Weights::read_file(&path).unwrap();
    // The file's names in ours, by renaming a copy of the model's weights that carries them.
    let ours = in_our_names(dir, &expected);
    assert_eq!(ours.len(), expected.tensors.len());
    for (name, weight) in &ours {
        let Some((shape, values)) = found.get(name) else {
            failures.push(format!("{}: no gradient of {name}", dir.display()));
            continue;
        };
        // Linear weights are [in, out] here and [out, in] there.
        let turned = match shape[..] {
            [from, to]
                if weight.shape == [to, from]
                    && name.ends_with("weight")
                    && !name.contains("embedding.embedding") =>
            {
                (0..to)
                    .flat_map(|o| (0..from).map(move |i| (i, o)))
                    .map(|(i, o)| values[i * to + o])
                    .collect()
            }
            _ => values.clone(),
        };
        // A bias of keys has no effect, so that its gradient is rounding alone.
        let what = format!("gradient of {name}");
        compare(dir, &what, &turned, &weight.values, 1e-3, 1e-3 * norm, failures);
    }
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    if let Some(expected) =
        header.metadata().as_ref().and_then(|pairs| pairs.get("global_grad_norm"))
    {
        let expected: f64 = expected.parse().unwrap();
        if (norm - expected).abs() > 1e-3 * expected {
            failures.push(format!(
                "{}: gradient norm {norm}, the reference's {expected}",
                dir.display()
            ));
        }
    }
}

/// Tensors of their names in ours.
fn in_our_names(dir: &Path, theirs: &Weights) -> BTreeMap<String, Weight> {
    let temporary = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("config.json"), temporary.path().join("config.json")).unwrap();
    theirs.write(&temporary.path().join("model.safetensors")).unwrap();
    read(temporary.path()).unwrap().1.tensors
}

/// A configuration without anything that is only for training.
fn still(mut config: SeriesModelConfig) -> SeriesModelConfig {
    let freeze = |norm: &mut NormConfig| norm.frozen = true;
    let quiet = |backbone: &mut BackboneConfig| match backbone {
        BackboneConfig::Transformer(transformer) => {
            freeze(&mut transformer.norm);
            transformer.attention_dropout = 0.0;
            transformer.hidden_dropout = 0.0;
            transformer.residual_dropout = 0.0;
        }
        BackboneConfig::Mixer(mixer) => {
            freeze(&mut mixer.norm);
            mixer.dropout = 0.0;
        }
    };
    config.frontend.dropout = 0.0;
    quiet(&mut config.backbone);
    if let Some(decoder) = &mut config.decoder {
        quiet(&mut decoder.backbone);
    }
    if let Some(ForecastConfig { dropout, reconcile, .. }) = &mut config.forecast {
        *dropout = 0.0;
        if let Some(mixer) = reconcile.as_mut().and_then(|reconcile| reconcile.mixer.as_mut()) {
            freeze(&mut mixer.norm);
            mixer.dropout = 0.0;
        }
    }
    if let Some(token) = &mut config.token {
        token.dropout = 0.0;
    }
    config
}

struct Gradients<'a> {
    gradients: &'a <A as AutodiffBackend>::Gradients,
    path: Vec<String>,
    found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    square: f64,
}

impl ModuleVisitor<A> for Gradients<'_> {
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

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
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

fn values<B: Backend>(x: Tensor<B, 1>) -> Vec<f32> {
    x.into_data().convert::<f32>().to_vec().unwrap()
}

/// Checks `found` against `expected`, relative to its norm or to `least` where that is more.
fn compare(
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
