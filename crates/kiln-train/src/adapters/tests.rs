use crate::{
    learner::{HostTensor, Learner, LearnerState},
    recipe::{SharedOnly, Stage},
    start::{self, InitReport, Start},
    task::{Task, TaskError, TaskSource, TaskSourceError},
    testing::{Cpu, alone, stage},
};
use burn::{
    module::Module,
    tensor::{Tensor, TensorData, backend::BackendTypes},
};
use burn_flex::Flex;
use kiln_core::{Backend, Loss, Seed, Size, Source, StepContext, Tokens};
use kiln_hub::{NameMap, Weights, adapter::Published};
use kiln_nn::{
    Linear, LinearConfig, Transformer, TransformerConfig,
    adapt::{Adapt, Walk},
};
use rand::RngExt as _;
use std::{collections::BTreeSet, path::Path, sync::Arc};

const WIDTH: usize = 8;
const TOKENS: usize = 3;

#[derive(Module, Debug)]
struct Model<B: Backend> {
    backbone: Transformer<B>,
    head: Linear<B>,
}

impl<B: Backend> Model<B> {
    fn new(device: &B::Device) -> Self {
        let config = TransformerConfig { layers: 2, heads: 2, ..TransformerConfig::default() };
        Self {
            backbone: config.init(WIDTH, device),
            head: LinearConfig::new(WIDTH, 1).init(device),
        }
    }

    fn loss(&self, batch: &[f32], device: &B::Device) -> Tensor<B, 1> {
        let rows = batch.len() / (TOKENS * WIDTH);
        let x = TensorData::new(batch.to_vec(), [rows, TOKENS, WIDTH]);
        let x = Tensor::<B, 3>::from_data(x, device);
        // The mean of the first feature, a quarter turned up.
        let target = x.clone().narrow(2, 0, 1).mean_dim(1).mul_scalar(2.0).add_scalar(0.5);
        let out = self.head.forward(self.backbone.forward(Tokens::new(x), false).values);
        (out.mean_dim(1) - target).square().mean()
    }
}

impl<B: Backend> Adapt<B> for Model<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("backbone", &mut self.backbone);
    }
}

/// Random tokens.
struct Noise;

impl Source for Noise {
    type Example = Vec<f32>;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Known(32)
    }

    fn example(&self, index: u64) -> Result<Vec<f32>, TaskSourceError> {
        let mut rng = Seed::new(3).at(index).rng();
        Ok((0..TOKENS * WIDTH).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect())
    }
}

struct Mean;

impl Task<Cpu> for Mean {
    type Model = Model<Cpu>;
    type Example = Vec<f32>;
    type HostBatch = Vec<f32>;

    fn source(&self) -> TaskSource<Vec<f32>> {
        Arc::new(Noise)
    }

    fn collate(
        &self,
        examples: Vec<Vec<f32>>,
        _: &mut StepContext<'_>,
    ) -> Result<Vec<f32>, TaskError> {
        Ok(examples.concat())
    }

    fn tokens(&self, batch: &Vec<f32>) -> usize {
        batch.len() / WIDTH
    }

    fn loss(
        &self,
        model: &Model<Cpu>,
        _teacher: Option<&Model<Cpu>>,
        batch: Vec<f32>,
        _context: &mut StepContext<'_>,
        device: &<Cpu as BackendTypes>::Device,
    ) -> Result<Loss<Cpu>, TaskError> {
        Ok(Loss::new(model.loss(&batch, device), batch.len()))
    }

    fn write_model(&self, model: &Model<Flex>, dir: &Path) -> Result<(), TaskError> {
        Ok(kiln_hub::collect(model)?.write(&dir.join("model.safetensors"))?)
    }

    fn published(&self) -> Result<Option<Published>, TaskError> {
        Ok(Some(Published { names: NameMap::default(), task_type: None, decoder_heads: None }))
    }
}

/// A stage that starts from a directory; without its head if so asked.
fn prepare(
    stage: &Stage<SharedOnly>,
    dir: Option<&Path>,
    head: bool,
) -> crate::Result<(Box<dyn Learner>, Option<InitReport>)> {
    let start =
        dir.map(|dir| Start { from: "the base".into(), dir: dir.to_owned(), parts: Vec::new() });
    let read = |dir: &Path, _: &Model<Cpu>| {
        let mut weights = Weights::read_dir(dir)?;
        weights.tensors.retain(|name, _| head || !name.starts_with("head."));
        Ok(weights)
    };
    let new = |device: &_| Ok(Model::<Cpu>::new(device));
    let prepared =
        start::prepare(Mean, stage, Seed::new(5), Default::default(), start.as_ref(), new, read)?;
    Ok((prepared.learner, prepared.init))
}

/// A directory with random weights.
fn base() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    <Flex as burn::tensor::backend::Backend>::seed(&Default::default(), 1);
    Mean.write_model(&Model::<Flex>::new(&Default::default()), dir.path()).unwrap();
    dir
}

/// Trains a few steps; the loss of each.
fn train(learner: &mut dyn Learner, steps: std::ops::Range<u64>) -> Vec<f64> {
    train_at(0.02, learner, steps)
}

fn train_at(rate: f64, learner: &mut dyn Learner, steps: std::ops::Range<u64>) -> Vec<f64> {
    let step = |step| {
        let loss = learner.accumulate(step, 0, false).unwrap().loss;
        learner.update(rate).unwrap();
        loss
    };
    steps.map(step).collect()
}

fn model(state: &LearnerState) -> impl Iterator<Item = (&str, &HostTensor)> {
    state.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?, tensor)))
}

/// The parameters in which two states differ.
fn changed(before: &LearnerState, after: &LearnerState) -> BTreeSet<String> {
    let differ =
        |(name, tensor): &(&str, &HostTensor)| before[&format!("model.{name}")] != **tensor;
    model(after).filter(differ).map(|(name, _)| name.to_owned()).collect()
}

const METHODS: [(&str, &str); 7] = [
    ("lora = { rank = 2, dropout = 0.1, modules = ['*.query', '*.output'] }", ".lora."),
    ("ia3 = {}", ".ia3."),
    ("bottleneck = { width = 3 }", ".adapters.bottleneck."),
    ("parallel = { width = 3 }", ".adapters.parallel."),
    ("prefix = { tokens = 2 }", ".prefix."),
    ("prompt = { tokens = 2 }", ".prompt."),
    ("bitfit = { parameters = ['backbone.*.bias'] }", ".bias"),
];

#[test]
fn only_adapters_are_trained_and_they_learn() {
    let _turn = alone();
    let base = base();
    for (adapt, mark) in METHODS {
        let stage = stage(&format!("adapt.{adapt}\nbatch = 16\nprecision = 'f32'"));
        let (mut learner, _) = prepare(&stage, Some(base.path()), true).unwrap();
        let before = learner.state().unwrap();
        // Prompts want high rates, 0.3 in the paper.
        let rate = if mark == ".prompt." { 0.3 } else { 0.02 };
        let losses = train_at(rate, learner.as_mut(), 0..60);
        let changed = changed(&before, &learner.state().unwrap());
        assert!(
            !changed.is_empty() && changed.iter().all(|name| name.contains(mark)),
            "{changed:?}"
        );
        let own = model(&before).filter(|(name, _)| name.contains(mark)).map(|(_, one)| one);
        let own: usize = own.map(|tensor| tensor.values.len()).sum();
        let counted = learner.parameters();
        if mark != ".bias" {
            assert_eq!(counted.trainable, own, "{adapt}");
        }
        assert!(counted.trainable < counted.frozen);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..4]), mean(&losses[56..]));
        assert!(last < 0.9 * first, "{adapt}: from {first} to {last}");
        let model = Model::<Cpu>::new(&Default::default());
        let counts = start::count(&model, &stage, |_| None).unwrap();
        let frozen = counts.parameters - counts.trainable;
        assert_eq!((frozen, counts.trainable), (counted.frozen, counted.trainable), "{adapt}");
    }
}

#[test]
fn written_models_compute_what_was_trained() {
    let _turn = alone();
    let base = base();
    let batch = Noise.example(1).unwrap();
    for (adapt, _) in METHODS {
        let stage = stage(&format!("adapt.{adapt}\nbatch = 16\nema = 0.5"));
        let (mut learner, _) = prepare(&stage, Some(base.path()), true).unwrap();
        train(learner.as_mut(), 0..10);
        let (dir, device) = (tempfile::tempdir().unwrap(), Default::default());
        learner.write_model(dir.path()).unwrap();
        // What the state says of the moving average, upon the same adapters.
        let mut expected = Model::<Flex>::new(&device);
        let config = stage.adapt.clone().unwrap();
        kiln_nn::adapt::insert(&mut expected, &config, &device).unwrap();
        let state = learner.state().unwrap();
        let flat = model(&state).map(|(name, own)| {
            let tensor = state.get(&format!("ema.{name}")).unwrap_or(own);
            let data = TensorData::new(tensor.values.clone(), [tensor.values.len()]);
            (name.to_owned(), Tensor::<Flex, 1>::from_data(data, &device))
        });
        let expected = crate::named::replace(expected, &flat.collect());
        let mut written = Model::<Flex>::new(&device);
        let weights = Weights::read_dir(dir.path()).unwrap();
        kiln_hub::apply::<Flex, _>(&mut written, &weights, kiln_hub::Mode::Strict).unwrap();
        let bare = written.loss(&batch, &device).into_scalar();
        let attached = kiln_hub::adapter::attach(dir.path(), &mut written, &device).unwrap();
        assert_eq!(attached, config.unfolded().into_iter().collect::<Vec<_>>());
        let (a, b) = (expected.loss(&batch, &device), written.loss(&batch, &device));
        let (a, b) = (a.into_scalar(), b.into_scalar());
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{adapt}: {a} and {b}");
        assert_eq!(config.unfolded().is_some(), (bare - b).abs() > 1e-7, "{adapt}");
        let peft = dir.path().join("adapter/adapter_config.json").exists();
        assert_eq!(peft, config.lora.is_some() || config.ia3.is_some(), "{adapt}");
        // The next stage goes on with what is there, adapters included, and trains all of it.
        let next = self::stage("batch = 16");
        let (mut learner, _) = prepare(&next, Some(dir.path()), true).unwrap();
        assert_eq!(learner.parameters().frozen, 0);
        train(learner.as_mut(), 0..2);
        let last = tempfile::tempdir().unwrap();
        learner.write_model(last.path()).unwrap();
        assert_eq!(last.path().join("adapter/kiln_adapter.json").exists(), !attached.is_empty());
    }
}

#[test]
fn states_go_on_to_the_same_bits() {
    let _turn = alone();
    let base = base();
    let stage = stage(
        "adapt = { lora = { rank = 2, dropout = 0.2 }, prefix = { tokens = 2 } }\nbatch = 4\nema = 0.9",
    );
    let (mut whole, _) = prepare(&stage, Some(base.path()), true).unwrap();
    train(whole.as_mut(), 0..3);
    let state = whole.state().unwrap();
    train(whole.as_mut(), 3..6);
    let (mut resumed, _) = prepare(&stage, Some(base.path()), true).unwrap();
    resumed.restore(&state).unwrap();
    train(resumed.as_mut(), 3..6);
    assert_eq!(whole.state().unwrap(), resumed.state().unwrap());
}

#[test]
fn heads_that_are_new_and_what_is_named_are_trained_too() {
    let _turn = alone();
    let base = base();
    let trained = |settings: &str, head: bool| {
        let stage = stage(&format!("{settings}\nbatch = 4"));
        let (mut learner, _) = prepare(&stage, Some(base.path()), head).unwrap();
        let before = learner.state().unwrap();
        train(learner.as_mut(), 0..2);
        let changed = changed(&before, &learner.state().unwrap());
        changed.into_iter().filter(|name| !name.contains(".lora.")).collect::<Vec<_>>()
    };
    let head = ["head.bias", "head.weight"];
    assert_eq!(trained("adapt.lora = {}", false), head);
    assert!(trained("adapt.lora = {}", true).is_empty());
    assert_eq!(trained("adapt = { lora = {}, train = ['head.*'] }", true), head);
    assert_eq!(trained("freeze = ['*.bias']\nadapt.lora = {}", false), ["head.weight"]);
    let dir = tempfile::tempdir().unwrap();
    let adapted = stage("adapt = { lora = {}, train = ['head.bias'] }\nbatch = 4");
    let (learner, _) = prepare(&adapted, Some(base.path()), true).unwrap();
    learner.write_model(dir.path()).unwrap();
    let written = dir.path().join("adapter/adapter_model.safetensors");
    let written = Weights::read_file(&written).unwrap();
    assert!(written.contains("base_model.model.head.weight"), "whole modules");
    let module = "base_model.model.backbone.layers.0.attention.query";
    assert!(written.contains(&format!("{module}.lora_A.weight")));
}

#[test]
fn mistakes_are_named() {
    let _turn = alone();
    let base = base();
    let refused = |settings: &str, from: Option<&Path>| {
        let error = prepare(&stage(settings), from, true).err().unwrap();
        error.to_string()
    };
    let some = Some(base.path());
    assert!(refused("adapt.lora = {}", None).contains("weights to start from"));
    let message = refused("adapt.lora.modules = ['*.quary']", some);
    assert!(message.contains("`adapt.lora.modules.0` is `*.quary`"), "{message}");
    let message = refused("adapt = { lora = {}, train = ['haed.*'] }", some);
    assert!(message.contains("`adapt.train` pattern `haed.*`"), "{message}");
    assert!(message.contains("head.weight"), "{message}");
    let message = refused("adapt = { lora = {}, train = ['*.query.weight'] }", some);
    assert!(message.contains("LoRA"), "{message}");
    let message = refused("freeze = ['*']\nadapt.lora = {}", some);
    assert!(message.contains("nothing is left to train"), "{message}");
}
