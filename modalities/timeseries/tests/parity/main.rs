//! Parity with the references' own outputs and gradients, for every fixture that is found; see
//! [`kiln_hub::testing`]. Tolerances, relative to the norm: outputs 1e-4, gradients 1e-3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod inputs;
mod round_trip;

use burn::{
    backend::Autodiff,
    tensor::{Bool, Tensor},
};
use burn_flex::Flex;
use inputs::batch;
use kiln_core::Backend;
use kiln_hub::{
    Weight, Weights,
    family::read,
    testing::{Gradients, Inputs, compare, each_fixture, tensor, values},
};
use kiln_nn::{BackboneConfig, NormConfig};
use kiln_timeseries::{
    SeriesBatch, SeriesModel, SeriesModelConfig,
    head::{ForecastConfig, loss::Units},
    hub::load_model,
};
use round_trip::round_trip;
use std::{collections::BTreeMap, path::Path};

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
    each_fixture(name, |dir, failures| match load_model::<Flex>(dir, &Default::default()) {
        Ok((model, _)) => {
            outputs(dir, &model, failures);
            gradients(dir, failures);
            round_trip(dir, failures);
        }
        Err(error) => failures.push(error.to_string()),
    });
}

/// Everything that a reference puts out, by its names.
fn run<B: Backend>(
    model: &SeriesModel<B>,
    inputs: &Inputs,
) -> BTreeMap<String, (Vec<usize>, Tensor<B, 1>)> {
    let config = model.config();
    let batch = batch::<B>(inputs, config);
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
    let encoded = model.encode_all(&batch, None, false);
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
        found.insert("loss".into(), (vec![], loss.loss.value));
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
    let encoded = model.encode_all(batch, Some(hide), false);
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
    if !dir.join("grads.safetensors").exists() {
        return;
    }
    // Evaluation mode with gradients: no dropout, batch norm by its running statistics.
    let (config, weights) = read::<SeriesModelConfig>(dir).unwrap();
    let mut model = SeriesModel::<A>::new(still(config), &Default::default()).unwrap();
    kiln_hub::apply::<A, _>(&mut model, &weights, kiln_hub::Mode::Strict).unwrap();
    let loss = run(&model, &Inputs::read(dir)).remove("loss").unwrap().1;
    let gradients = Gradients::of::<A, _>(&model, &loss.backward());
    gradients.compare(dir, |theirs| in_our_names(dir, theirs), failures);
}

/// Tensors of their names in ours.
fn in_our_names(dir: &Path, theirs: &Weights) -> BTreeMap<String, Weight> {
    let temporary = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("config.json"), temporary.path().join("config.json")).unwrap();
    theirs.write(&temporary.path().join("model.safetensors")).unwrap();
    read::<SeriesModelConfig>(temporary.path()).unwrap().1.tensors
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
