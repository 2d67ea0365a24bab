use super::*;
use crate::{
    batch::HostText,
    config::{PoolerConfig, TaskHeadConfig, TaskKind},
};
use burn::{
    backend::Autodiff,
    tensor::{Bool, Tensor, TensorData},
};
use burn_flex::Flex;
use kiln_core::Tokens;
use kiln_hub::{
    Mode, ModelDir,
    family::{config_json, names, read, read_config},
    testing::{Gradients, Inputs, compare, config_error, each_fixture, python_reads, values},
};
use kiln_nn::{PositionConfig, RotaryConfig, RotaryScaling, YarnScaling};

type A = Autodiff<Flex>;

fn ids(inputs: &Inputs, name: &str) -> Option<(Vec<usize>, Vec<i64>)> {
    let weight = inputs.get(&[name])?;
    Some((weight.shape, weight.values.iter().map(|value| *value as i64).collect()))
}

/// A text out of the reference's inputs.
fn host(inputs: &Inputs, prefix: &str) -> HostText {
    let get = |name: &str| ids(inputs, &format!("{prefix}{name}"));
    let (shape, found) = get("input_ids").unwrap();
    let unsigned = |values: Vec<i64>| values.into_iter().map(|id| id as u32).collect::<Vec<u32>>();
    let all = |name: &str| get(name).map(|(_, values)| unsigned(values)).unwrap_or_default();
    let pad: Vec<bool> = all("attention_mask").iter().map(|seen| *seen == 0).collect();
    HostText {
        batch: shape[0],
        tokens: shape[1],
        ids: unsigned(found),
        pad: if pad.contains(&true) { pad } else { Vec::new() },
        types: all("token_type_ids"),
        positions: all("position_ids"),
        documents: Vec::new(),
    }
}

/// The mean cross-entropy of labels that are not -100; `scores` `[rows, classes]`.
fn loss(scores: Tensor<A, 2>, labels: &[i64]) -> Tensor<A, 1> {
    let rows: Vec<i64> =
        (0..labels.len() as i64).filter(|row| labels[*row as usize] >= 0).collect();
    let kept: Vec<i64> = labels.iter().copied().filter(|label| *label >= 0).collect();
    let count = rows.len();
    let device = Default::default();
    let rows = Tensor::from_data(TensorData::new(rows, [count]), &device);
    let kept = Tensor::from_data(TensorData::new(kept, [count]), &device);
    let options = kiln_kernels::CrossEntropyOptions::default();
    kiln_kernels::cross_entropy(scores.select(0, rows), kept, options).mean()
}

fn flat(x: Tensor<A, 3>) -> Tensor<A, 2> {
    let [batch, tokens, outputs] = x.dims();
    x.reshape([batch * tokens, outputs])
}

fn without_dropout(mut config: TextModelConfig) -> TextModelConfig {
    config.embedding.dropout = 0.0;
    for stack in std::iter::once(&mut config.backbone).chain(&mut config.decoder) {
        stack.attention_dropout = 0.0;
        stack.hidden_dropout = 0.0;
        stack.residual_dropout = 0.0;
        stack.layer_drop = 0.0;
    }
    if let Some(task) = &mut config.task {
        task.dropout = 0.0;
    }
    config
}

pub(super) fn agrees(dir: &Path, failures: &mut Vec<String>) {
    let device = Default::default();
    // Gradients are recorded, which is training; the references drop nothing.
    let (config, weights) = read::<TextModelConfig>(dir).unwrap();
    let config = without_dropout(config);
    let mut model = TextModel::<A>::new(config.clone(), &device).unwrap();
    kiln_hub::apply::<A, _>(&mut model, &weights, Mode::Strict).unwrap();
    let inputs = Inputs::read(dir);
    let outputs = Inputs::read_file(&dir.join("outputs.safetensors"));
    let host = host(&inputs, "");
    let text = host.upload::<A>(&config.embedding, &device);
    let read = model.encode_text(&text);
    let readme = std::fs::read_to_string(dir.join("README.txt")).unwrap();
    let mut check = |name: &str, found: Tensor<A, 3>| {
        let Some(expected) = outputs.get(&[name]) else { return };
        // What padding gives is compared only where the reference left it as it was.
        let found = if readme.contains(&format!("{name} multiplied by")) && !host.pad.is_empty() {
            let shape = found.dims();
            let pad = TensorData::new(host.pad.clone(), [host.batch, host.tokens, 1]);
            found.mask_fill(Tensor::<A, 3, Bool>::from_data(pad, &device).expand(shape), 0.0)
        } else {
            found
        };
        compare(dir, name, &values(found), &expected.values, 1e-4, 0.0, failures);
    };
    check("last_hidden_state", read.values.clone());
    check("encoder_last_hidden_state", read.values.clone());
    if config.task.is_none() {
        let [batch, _, width] = read.dims();
        if config.pooler.is_some() {
            check("pooler_output", model.pooled(&read).reshape([batch, 1, width]));
        }
    }
    let labels = ids(&inputs, "labels");
    let scores = if config.decoder.is_some() {
        let (shape, target) = ids(&inputs, "decoder_input_ids").unwrap();
        let target = HostText {
            batch: shape[0],
            tokens: shape[1],
            ids: target.into_iter().map(|id| id as u32).collect(),
            ..HostText::default()
        };
        let target = target.upload::<A>(&config.embedding, &device);
        let tokens: Tokens<A> = model.decode(&target, &read, None).unwrap();
        Some(flat(model.scores(tokens.values).unwrap()))
    } else if config.task.is_some() {
        model.task_of_texts(None, &read)
    } else {
        model.scores(read.values.clone()).map(flat)
    };
    let Some(scores) = scores else { return };
    let [rows, outputs_each] = scores.dims();
    check(
        "logits",
        if rows == host.batch * host.tokens {
            scores.clone().reshape([host.batch, host.tokens, outputs_each])
        } else {
            scores.clone().reshape([1, rows, outputs_each])
        },
    );
    let Some((shape, mut labels)) = labels else { return };
    if config.causal {
        // Shifted inside: each token is scored against the next.
        for row in labels.chunks_mut(shape[1]) {
            row.rotate_left(1);
            row[shape[1] - 1] = -100;
        }
    }
    let value = loss(scores, &labels);
    let expected = outputs.get(&["loss"]).unwrap();
    compare(dir, "loss", &values(value.clone()), &expected.values, 1e-4, 0.0, failures);
    let gradients = Gradients::of::<A, _>(&model, &value.backward());
    let rename =
        |theirs: &Weights| names(&config).unwrap().to_ours(theirs.clone()).unwrap().tensors;
    gradients.compare(dir, rename, failures);
}

/// What is written is what was read.
pub(super) fn goes_there_and_back(dir: &Path, failures: &mut Vec<String>) {
    let model = TextModel::<Flex>::load(dir, &Default::default()).unwrap();
    let out = tempfile::tempdir().unwrap();
    model.save(out.path()).unwrap();
    let again = TextModel::<Flex>::load(out.path(), &Default::default()).unwrap();
    if again.config() != model.config() {
        failures.push(format!(
            "{}: {:?} is not {:?}",
            dir.display(),
            again.config(),
            model.config()
        ));
    }
    let weights = |dir: &Path| ModelDir::open(dir).unwrap().weights().unwrap();
    let (ours, theirs) = (weights(out.path()), weights(dir));
    let legacy = dir.ends_with("model_legacy_keys");
    if !legacy && ours.tensors != theirs.tensors {
        let missing: Vec<_> = theirs.names().filter(|name| !ours.contains(name)).collect();
        let more: Vec<_> = ours.names().filter(|name| !theirs.contains(name)).collect();
        failures.push(format!("{}: misses {missing:?}, has {more:?}", dir.display()));
    }
    if !legacy {
        python_reads(dir, out.path(), failures);
    }
}

/// A new model of `config`, written and read again: it is the same. What was written.
pub(super) fn written(config: TextModelConfig) -> (tempfile::TempDir, ModelDir) {
    let out = tempfile::tempdir().unwrap();
    let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
    model.save(out.path()).unwrap();
    let again = TextModel::<Flex>::load(out.path(), &Default::default()).unwrap();
    let weights = |model| kiln_hub::collect::<Flex, _>(model).unwrap();
    assert_eq!(weights(&model), weights(&again));
    assert_eq!(comparable(again.config().clone()), comparable(config));
    let dir = ModelDir::open(out.path()).unwrap();
    (out, dir)
}

#[test]
fn the_encoder_of_t5_stands_alone() {
    each_fixture("t5", |dir, failures| {
        let published = TextModel::<Flex>::load(dir, &Default::default()).unwrap();
        let config =
            TextModelConfig { decoder: None, language: None, ..published.config().clone() };
        let (out, written) = written(config);
        assert_eq!(written.config["architectures"][0], "T5EncoderModel");
        python_reads(out.path(), out.path(), failures);
    });
}

/// Decoders with a head for texts are written as their families have them.
#[test]
fn decoders_classify_as_published() {
    for family in ["gpt2", "llama", "qwen2"] {
        each_fixture(family, |dir, failures| {
            let published = TextModel::<Flex>::load(dir, &Default::default()).unwrap();
            let names = vec!["good".to_owned(), "bad".into(), "so-so".into()];
            let task =
                TaskHeadConfig { bias: false, ..TaskHeadConfig::new(TaskKind::Classes(3), names) };
            let config = TextModelConfig {
                task: Some(task),
                pooler: Some(PoolerConfig::of_last()),
                language: None,
                ..published.config().clone()
            };
            let (out, written) = written(config);
            assert_eq!(written.model_type(), family);
            assert_eq!(written.config["id2label"]["2"], "so-so");
            assert!(written.weights().unwrap().tensors.contains_key("score.weight"));
            python_reads(out.path(), out.path(), failures);
        });
    }
}

macro_rules! families {
    ($($family:ident),*) => {$(
        #[test]
        fn $family() {
            each_fixture(stringify!($family), |dir, failures| {
                agrees(dir, failures);
                goes_there_and_back(dir, failures);
            });
        }
    )*};
}

families!(bert, roberta, mpnet, modernbert, gpt2, llama, qwen2, t5);

#[test]
fn what_no_family_can_express_is_written_as_ours() {
    let odd = TextModelConfig {
        task: Some(TaskHeadConfig::new(TaskKind::Tags(3), Vec::new())),
        ..TextModelConfig::default()
    };
    for (config, expected) in [(odd, KILN), (TextModelConfig::default(), "gpt2")] {
        assert_eq!(written(config).1.model_type(), expected);
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let error = config_error::<TextModelConfig>;
    let message = error(r#"{"model_type": "wav2vec2"}"#);
    assert!(message.contains("`wav2vec2`; expected bert or"), "{message}");
    let message = error(r#"{"model_type": "bert", "is_decoder": true}"#);
    assert!(message.contains("config.json: `is_decoder`"), "{message}");
    let message = error(r#"{"model_type": "llama", "rope_scaling": {"type": "longrope"}}"#);
    assert!(message.contains("`rope_type` is longrope"), "{message}");
    let message =
        error(r#"{"model_type": "qwen2", "rope_scaling": {"type": "yarn", "mscale": 0.7}}"#);
    assert!(message.contains("rope.mscale"), "{message}");
    let message = error(r#"{"model_type": "gpt2", "n_embd": "wide"}"#);
    assert!(message.contains("config.json"), "{message}");
}

/// As Qwen2.5's card tells to read longer texts.
#[test]
fn yarn_goes_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let json = r#"{
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rope_theta": 1000000.0,
        "max_position_embeddings": 32768, "rope_scaling":
        {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}
    }"#;
    std::fs::write(dir.path().join("config.json"), json).unwrap();
    let config = read_config::<TextModelConfig>(dir.path()).unwrap();
    let yarn = YarnScaling { factor: 4.0, context: 32_768, fast: 32.0, slow: 1.0, magnitude: None };
    let scaling = Some(RotaryScaling::Yarn(yarn));
    let expected = RotaryConfig { base: 1e6, local_base: None, scaling };
    assert_eq!(config.backbone.positions, Some(PositionConfig::Rotary(expected)));
    let theirs = config_json(&config).1;
    assert_eq!(theirs["max_position_embeddings"], 131_072);
    assert_eq!(theirs["rope_parameters"]["rope_type"], "yarn");
    std::fs::write(dir.path().join("config.json"), theirs.to_string()).unwrap();
    assert_eq!(read_config::<TextModelConfig>(dir.path()).unwrap().backbone, config.backbone);
}
