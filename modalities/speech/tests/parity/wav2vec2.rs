//! wav2vec 2.0: hidden states, CTC, and pretraining with given masks and distractors.

use crate::{Outputs, compare_outputs, flat, ids, with_weights};
use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData},
};
use burn_flex::Flex;
use kiln_core::{Backend, Corruption, Quantize as _, Seed};
use kiln_hub::{
    Mode, ModelDir, Weight, Weights,
    family::read,
    testing::{Gradients, Inputs, each_fixture, python_reads, same_weights},
};
use kiln_objectives::wav2vec2_contrastive::{Candidates, contrastive_loss, diversity};
use kiln_speech::{
    SpeechBatch, SpeechModel, SpeechModelConfig, batch::Labels, config::CtcReduction,
    hub::wav2vec2::Wav2Vec2Config,
};
use std::{collections::BTreeMap, path::Path};

type A = Autodiff<Flex>;

#[test]
fn parity_wav2vec2() {
    each_fixture("wav2vec2", |dir, failures| {
        let model = match SpeechModel::<Flex>::load(dir, &Default::default()) {
            Ok(model) => model,
            Err(error) => return failures.push(error.to_string()),
        };
        compare_outputs(dir, &run(dir, &model), failures);
        gradients(dir, failures);
        round_trip(dir, &model, failures);
    });
}

fn batch<B: Backend>(inputs: &Inputs) -> SpeechBatch<B> {
    let waves: Tensor<B, 2> = inputs.tensor("input_values");
    let [items, samples] = waves.dims();
    let counts = inputs.get(&["attention_mask"]).map_or_else(
        || vec![samples; items],
        |mask| mask.values.chunks(samples).map(|row| row.iter().sum::<f32>() as usize).collect(),
    );
    let labels = inputs.get(&["labels"]).map(|labels| {
        let most = labels.shape[1];
        let counts = labels.values.chunks(most);
        let counts = counts.map(|row| row.iter().filter(|label| **label >= 0.0).count()).collect();
        Labels { ids: ids::<B, 2>(inputs, "labels").unwrap().clamp_min(0), counts }
    });
    SpeechBatch { labels, ..SpeechBatch::new(waves, counts) }
}

/// Everything that the reference puts out.
fn run<B: Backend>(dir: &Path, model: &SpeechModel<B>) -> Outputs<B> {
    let inputs = Inputs::read(dir);
    let batch = batch::<B>(&inputs);
    if model.quantizer.is_some() {
        return pretraining(dir, model, &inputs, &batch);
    }
    let mut found = Outputs::new();
    if let Some(labels) = &batch.labels {
        let logits = model.logits(&batch).unwrap();
        found.insert("logits", flat(logits.clone()));
        let loss = model.ctc_loss(logits, labels, &model.lengths(&batch)).unwrap();
        // Our sum is a mean over clips.
        let summed = model.config().ctc.unwrap().reduction == CtcReduction::Sum;
        let items = if summed { batch.samples.len() as f64 } else { 1.0 };
        found.insert("loss", loss.mul_scalar(items));
        return found;
    }
    let encoded = model.encode_all(&batch);
    found.insert("last_hidden_state", flat(encoded.tokens.values));
    found.insert("extract_features", flat(encoded.features.normed));
    found
}

/// The reference's losses are sums over hidden frames.
fn pretraining<B: Backend>(
    dir: &Path,
    model: &SpeechModel<B>,
    inputs: &Inputs,
    batch: &SpeechBatch<B>,
) -> Outputs<B> {
    let theirs: Wav2Vec2Config = ModelDir::open(dir).unwrap().parse_config().unwrap();
    let objective = theirs.objective();
    let mask = inputs.get(&["mask_time_indices"]).unwrap();
    let hidden: Vec<bool> = mask.values.iter().map(|value| *value > 0.5).collect();
    let candidates = candidates(&hidden, inputs, mask.shape[1], objective.negatives);
    let hide = TensorData::new(hidden, mask.shape.clone());
    let hide = Tensor::from_data(hide, &Default::default());
    let quantize = |picked: &[usize]| {
        let corruption = Corruption::masked(hide.clone());
        model.quantize(batch, &corruption, picked, None, &mut Seed::new(0).rng())
    };
    let all = quantize(&(0..mask.values.len()).collect::<Vec<_>>());
    let picked = candidates.picked(mask.shape[1]);
    let quantized = quantize(&picked);
    let matched = contrastive_loss(&quantized, &candidates, objective.temperature);
    assert_eq!(matched.count, picked.len());
    let count = picked.len() as f64;
    let (perplexity, missing) = diversity(quantized.usage);
    let contrastive = matched.value.mul_scalar(count);
    let missing = missing.mul_scalar(count);
    let loss = contrastive.clone() + missing.clone().mul_scalar(objective.diversity_weight);
    [
        ("projected_states", flat(all.predictions)),
        ("projected_quantized_states", flat(all.codes)),
        ("contrastive_loss", contrastive),
        ("diversity_loss", missing),
        ("codevector_perplexity", perplexity),
        ("loss", loss),
    ]
    .into()
}

/// Distractors are given as rows of `[batch * frames]`, for all frames.
fn candidates(mask: &[bool], inputs: &Inputs, frames: usize, negatives: usize) -> Candidates {
    let given = inputs.get(&["sampled_negative_indices"]).unwrap();
    assert_eq!(given.shape[2], negatives);
    let rows = mask.chunks(frames);
    let masked: Vec<Vec<usize>> =
        rows.map(|row| (0..frames).filter(|frame| row[*frame]).collect()).collect();
    let distractors = masked.iter().enumerate().map(|(item, own)| {
        let of_frame = |frame: &usize| {
            let start = (item * frames + frame) * negatives;
            given.values[start..start + negatives].iter().map(|row| *row as usize)
        };
        let place = |row: usize| {
            assert_eq!(row / frames, item, "distractors are of the same sequence");
            own.iter().position(|frame| *frame == row % frames).expect("distractors are hidden")
        };
        own.iter().flat_map(of_frame).map(place).collect()
    });
    Candidates { distractors: distractors.collect(), masked }
}

fn gradients(dir: &Path, failures: &mut Vec<String>) {
    if !dir.join("grads.safetensors").exists() {
        return;
    }
    let (config, weights) = read::<SpeechModelConfig>(dir).unwrap();
    let mut model = SpeechModel::<A>::new(still(config), &Default::default()).unwrap();
    kiln_hub::apply::<A, _>(&mut model, &weights, Mode::Strict).unwrap();
    let loss = run(dir, &model).remove("loss").unwrap();
    let gradients = Gradients::of::<A, _>(&model, &loss.backward());
    gradients.compare(dir, |theirs| in_our_names(dir, theirs), failures);
}

fn in_our_names(dir: &Path, theirs: &Weights) -> BTreeMap<String, Weight> {
    let mut ours = read::<SpeechModelConfig>(with_weights(dir, theirs).path()).unwrap().1.tensors;
    if theirs.names().all(|name| !name.ends_with("masked_spec_embed")) {
        ours.remove("frontend.mask");
    }
    ours
}

/// A configuration without anything that is only for training.
fn still(mut config: SpeechModelConfig) -> SpeechModelConfig {
    config.frontend.dropout = 0.0;
    config.frontend.feature_dropout = 0.0;
    config.backbone.attention_dropout = 0.0;
    config.backbone.hidden_dropout = 0.0;
    config.backbone.residual_dropout = 0.0;
    config.backbone.layer_drop = 0.0;
    if let Some(ctc) = &mut config.ctc {
        ctc.dropout = 0.0;
    }
    if let Some(quantizer) = &mut config.quantizer {
        quantizer.dropout = 0.0;
    }
    config
}

/// What was read is written again: for us, bit for bit, and for the reference's own library.
fn round_trip(dir: &Path, model: &SpeechModel<Flex>, failures: &mut Vec<String>) {
    let copy = tempfile::tempdir().unwrap();
    model.save(copy.path()).unwrap();
    same_weights(dir, copy.path(), today, failures);
    let again = SpeechModel::<Flex>::load(copy.path(), &Default::default()).unwrap();
    assert_eq!(again.config(), model.config(), "the configuration goes there and back");
    let original = ModelDir::open(dir).unwrap().config;
    let written = ModelDir::open(copy.path()).unwrap().config;
    for (key, value) in written.as_object().unwrap() {
        let number = |value: &serde_json::Value| value.as_f64();
        let theirs = &original[key];
        let same = theirs == value || (number(theirs).is_some() && number(theirs) == number(value));
        // The objective's, not the model's; and what only the CTC head has.
        let other = key == "num_negatives" || (key == "vocab_size" && model.ctc.is_none());
        if !same && !other {
            failures.push(format!("{}: {key} was {theirs}, written as {value}", dir.display()));
        }
    }
    python_reads(dir, copy.path(), failures);
}

/// Weight normalisation as it is spelt today.
fn today(name: &str) -> String {
    name.replace(".weight_g", ".parametrizations.weight.original0")
        .replace(".weight_v", ".parametrizations.weight.original1")
}
