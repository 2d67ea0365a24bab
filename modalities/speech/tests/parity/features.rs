//! What is computed before and beside models: normalisation, spectrograms, positions.

use burn::{backend::Autodiff, module::Param, tensor::Tensor};
use burn_flex::Flex;
use kiln_hub::{
    Weights,
    testing::{Inputs, compare, fixtures, values},
};
use kiln_nn::{Activation, PositionalConvConfig};
use kiln_speech::{
    Clip, Collator, Preset,
    log_mel::{LogMel, LogMelConfig},
};
use serde_json::Value;
use std::path::Path;

type A = Autodiff<Flex>;

#[test]
fn parity_features() {
    let mut failures = Vec::new();
    for dir in fixtures("conv") {
        let text = std::fs::read_to_string(dir.join("params.json")).unwrap();
        let params: Value = serde_json::from_str(&text).unwrap();
        match params["op"].as_str() {
            Some("wav2vec2_features") => normalisation(&dir, &params, &mut failures),
            Some("weight_norm_conv1d") => positions(&dir, &params, &mut failures),
            Some("whisper_log_mel") => spectrogram(&dir, &params, &mut failures),
            // Other crates'.
            _ => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn expected(dir: &Path, name: &str) -> Vec<f32> {
    let outputs = Weights::read_file(&dir.join("outputs.safetensors")).unwrap();
    outputs.tensors[name].values.clone()
}

fn normalisation(dir: &Path, params: &Value, failures: &mut Vec<String>) {
    let inputs = Inputs::read(dir);
    let waves: Vec<Vec<f32>> =
        (0..3).map(|at| inputs.get(&[&format!("raw.{at}")]).unwrap().values).collect();
    let mut config = Preset::Tiny.config();
    config.audio.padding_mask = params["return_attention_mask"].as_bool().unwrap();
    let clips: Vec<_> = waves.iter().map(|wave| Clip { wave, ..Clip::default() }).collect();
    let batch = Collator::new(&config).unwrap().collate(&clips).unwrap();
    let found: Vec<f32> = batch.waves.iter().copied().collect();
    compare(dir, "input_values", &found, &expected(dir, "input_values"), 1e-4, 0.0, failures);
    if config.audio.padding_mask {
        assert_eq!(batch.samples, waves.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

fn spectrogram(dir: &Path, params: &Value, failures: &mut Vec<String>) {
    let number = |key: &str| params[key].as_u64().unwrap() as usize;
    let rate = number("sampling_rate");
    let config = LogMelConfig {
        bins: number("feature_size"),
        window: number("n_fft"),
        hop: number("hop_length"),
        ..LogMelConfig::default()
    };
    let mel = LogMel::new(config, rate).unwrap();
    let inputs = Inputs::read(dir);
    let mut found = Vec::new();
    for at in 0..2 {
        let mut wave = inputs.get(&[&format!("waveform.{at}")]).unwrap().values;
        wave.resize(number("chunk_length") * rate, 0.0);
        // The reference has bins first.
        found.extend(mel.forward(&wave).t().iter().copied());
    }
    compare(dir, "log-mel", &found, &expected(dir, "input_features"), 1e-4, 0.0, failures);
}

fn positions(dir: &Path, params: &Value, failures: &mut Vec<String>) {
    let number = |key: &str| params[key].as_u64().unwrap() as usize;
    let inputs = Inputs::read(dir);
    // The reference has channels first.
    let x: Tensor<A, 3> = inputs.tensor::<A, 3>("input").require_grad();
    let width = x.dims()[1];
    let config = PositionalConvConfig {
        kernel: number("kernel_size"),
        groups: number("groups"),
        activation: Activation::Gelu,
    };
    config.validate(width).unwrap();
    let mut conv = config.init::<A>(width, &Default::default());
    conv.weight_g = Param::from_tensor(inputs.tensor("weight_g"));
    conv.weight_v = Param::from_tensor(inputs.tensor("weight_v"));
    conv.bias = Param::from_tensor(inputs.tensor("bias"));
    let output = conv.forward(x.clone().swap_dims(1, 2)).swap_dims(1, 2);
    compare(dir, "output", &values(output.clone()), &expected(dir, "output"), 1e-4, 0.0, failures);
    let gradients = (output * inputs.tensor("grad_output")).sum().backward();
    let grads = Inputs::read_file(&dir.join("grads.safetensors"));
    for (name, found) in [
        ("input", values(x.grad(&gradients).unwrap())),
        ("weight_g", values(conv.weight_g.val().grad(&gradients).unwrap())),
        ("weight_v", values(conv.weight_v.val().grad(&gradients).unwrap())),
        ("bias", values(conv.bias.val().grad(&gradients).unwrap())),
    ] {
        let expected = grads.get(&[name]).unwrap().values;
        compare(dir, &format!("gradient of {name}"), &found, &expected, 1e-3, 0.0, failures);
    }
}
