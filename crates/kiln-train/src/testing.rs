//! What the tests of this crate share: references, comparisons and a tiny task.

use crate::{
    interrupt::Interrupt,
    learner::{HostTensor, Learner, LearnerState, MicroReport, Parameters, UpdateReport},
    recipe::{SharedOnly, Stage},
    task::{LOSS, Measure, Task, TaskError, TaskSource, TaskSourceError},
    task_learner::TaskLearner,
};
use burn::{
    backend::Autodiff,
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig},
    tensor::{Tensor, TensorData, backend::Backend},
};
use burn_flex::Flex;
use kiln_core::{Diagnostic, Loss, Seed, Size, Source, StepContext};
use rand::RngExt as _;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

/// The backend of tests.
pub(crate) type Cpu = Autodiff<Flex>;

/// The CPU's random generator is one for the process: tests whose numbers must be exact take turns.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A directory of reference inputs and outputs.
pub(crate) struct Fixture {
    pub params: serde_json::Value,
    pub inputs: BTreeMap<String, HostTensor>,
    pub outputs: BTreeMap<String, HostTensor>,
}

/// Reads a reference; says that it skipped, and gives nothing, where there is none.
pub(crate) fn fixture(name: &str) -> Option<Fixture> {
    let dir = kiln_core::testing::fixture(name)?;
    let tensors = |file: &str| -> BTreeMap<String, HostTensor> {
        let bytes = std::fs::read(dir.join(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
        floats
            .map(|(name, view)| {
                let values = view.data().chunks_exact(4);
                let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                (name.to_owned(), HostTensor { shape: view.shape().to_vec(), values })
            })
            .collect()
    };
    let params = std::fs::read_to_string(dir.join("params.json")).unwrap();
    Some(Fixture {
        params: serde_json::from_str(&params).unwrap(),
        inputs: tensors("inputs.safetensors"),
        outputs: tensors("outputs.safetensors"),
    })
}

pub(crate) fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

/// Compares elementwise, relative to values above 1.
pub(crate) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (at, (g, e)) in got.iter().zip(expected).enumerate() {
        let fine = (g - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(fine, "at {at}: got {g}, expected {e}");
    }
}

pub(crate) fn values<B: Backend>(tensor: &Tensor<B, 1>) -> Vec<f32> {
    tensor.to_data().convert::<f32>().into_vec().unwrap()
}

/// A line to be learned: `y = 2·a − b + 0.5`.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    /// Examples in the source; small, so that epochs end within a test.
    pub examples: u64,
    /// Examples whose target is NaN.
    pub nan_at: Vec<u64>,
    /// An example that cannot be read.
    pub broken: Option<u64>,
    /// Measured instead of the model: one number a validation, the last for all after it.
    pub scripted: Arc<Mutex<Vec<f64>>>,
    /// Whether validation counts nothing.
    pub unmeasured: bool,
    /// Whether no batch has anything to predict.
    pub unpredicted: bool,
}

impl Default for Toy {
    fn default() -> Self {
        Self {
            examples: 20,
            nan_at: Vec::new(),
            broken: None,
            scripted: Arc::default(),
            unmeasured: false,
            unpredicted: false,
        }
    }
}

/// Two layers with all that training may change: weights, running statistics, dropout.
#[derive(Module, Debug)]
pub(crate) struct Net<B: Backend> {
    pub first: Linear<B>,
    pub norm: BatchNorm<B>,
    pub dropout: Dropout,
    pub middle: Linear<B>,
    pub head: Linear<B>,
}

impl<B: Backend> Net<B> {
    pub fn new(device: &B::Device) -> Self {
        Self {
            first: LinearConfig::new(2, 8).init(device),
            norm: BatchNormConfig::new(8).init(device),
            dropout: DropoutConfig::new(0.1).init(),
            middle: LinearConfig::new(8, 8).init(device),
            head: LinearConfig::new(8, 1).init(device),
        }
    }

    pub fn forward(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.norm.forward(self.first.forward(inputs));
        let hidden = burn::tensor::activation::relu(self.middle.forward(hidden));
        self.head.forward(self.dropout.forward(hidden))
    }
}

/// Points on the line.
pub(crate) struct Line {
    pub examples: u64,
    pub broken: Option<u64>,
}

impl Source for Line {
    type Example = (u64, [f32; 3]);
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Known(self.examples)
    }

    fn example(&self, index: u64) -> Result<Self::Example, TaskSourceError> {
        if self.broken == Some(index) {
            return Err(TaskSourceError("bad shard".into()));
        }
        let mut rng = Seed::new(1).at(index).rng();
        let [a, b] = [0, 1].map(|_| rng.random::<f32>() * 2.0 - 1.0);
        Ok((index, [a, b, 2.0 * a - b + 0.5]))
    }
}

/// A batch of the toy task.
pub(crate) struct ToyBatch {
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Task<Cpu> for Toy {
    type Model = Net<Cpu>;
    type Example = (u64, [f32; 3]);
    type HostBatch = ToyBatch;

    fn source(&self) -> TaskSource<Self::Example> {
        Arc::new(Line { examples: self.examples, broken: self.broken })
    }

    fn collate(
        &self,
        examples: Vec<Self::Example>,
        _: &mut StepContext<'_>,
    ) -> Result<ToyBatch, TaskError> {
        let inputs = examples.iter().flat_map(|(_, [a, b, _])| [*a, *b]).collect();
        let nan = |index: &u64| self.nan_at.contains(index);
        let targets = examples.iter().map(|(i, [.., y])| if nan(i) { f32::NAN } else { *y });
        Ok(ToyBatch { inputs, targets: targets.collect() })
    }

    fn tokens(&self, batch: &ToyBatch) -> usize {
        batch.inputs.len()
    }

    fn loss(
        &self,
        model: &Net<Cpu>,
        _teacher: Option<&Net<Cpu>>,
        batch: ToyBatch,
        context: &mut StepContext<'_>,
        device: &<Cpu as burn::tensor::backend::BackendTypes>::Device,
    ) -> Result<Loss<Cpu>, TaskError> {
        if self.unpredicted {
            return Ok(Loss::empty(device));
        }
        let size = batch.targets.len();
        let inputs = Tensor::<Cpu, 2>::from_data(TensorData::new(batch.inputs, [size, 2]), device);
        let targets =
            Tensor::<Cpu, 2>::from_data(TensorData::new(batch.targets, [size, 1]), device);
        // Noise from the step's own generator, as masks would be drawn.
        let noise = context.rng.random::<f32>() * 0.01;
        let guess = targets.clone().square().mean();
        let loss =
            Loss::new((model.forward(inputs) - targets).add_scalar(noise).square().mean(), size);
        Ok(if context.collect_metrics {
            loss.with_diagnostic(Diagnostic::BaselineLoss, guess)
        } else {
            loss
        })
    }

    fn validate(
        &self,
        model: &Net<Flex>,
        _teacher: Option<&Net<Flex>>,
        _seed: Seed,
        _step: u64,
        device: &<Cpu as burn::tensor::backend::BackendTypes>::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let mut scripted = self.scripted.lock().unwrap();
        let value = match scripted.len() {
            0 => {
                let inputs = Tensor::<Flex, 2>::from_floats([[0.5, 0.5], [-0.5, 0.2]], device);
                let targets = Tensor::<Flex, 2>::from_floats([[1.0], [-0.7]], device);
                let error = (model.forward(inputs) - targets).square().mean();
                f64::from(error.into_scalar())
            }
            1 => scripted[0],
            _ => scripted.remove(0),
        };
        let counted = !self.unmeasured;
        Ok(Measure::of(LOSS, counted.then_some(value)).into_iter().collect())
    }

    fn write_model(&self, model: &Net<Flex>, dir: &Path) -> Result<(), TaskError> {
        let text = crate::named::weights(model)
            .iter()
            .map(|(name, tensor)| format!("{name} {:?}\n", values(tensor)))
            .collect::<String>();
        std::fs::write(dir.join("model.txt"), text)?;
        Ok(())
    }

    fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        parameter.starts_with("middle").then_some((0, 1))
    }
}

/// A learner that asks to stop in the step after which so many are done.
pub(crate) struct Stopping {
    pub inner: Box<dyn Learner>,
    pub interrupt: Interrupt,
    pub left: u64,
}

impl Learner for Stopping {
    fn accumulate(&mut self, step: u64, micro: u64, metrics: bool) -> crate::Result<MicroReport> {
        if step + 1 == self.left {
            self.interrupt.request();
        }
        self.inner.accumulate(step, micro, metrics)
    }
    fn update(&mut self, rate: f64) -> crate::Result<UpdateReport> {
        self.inner.update(rate)
    }
    fn discard(&mut self) {
        self.inner.discard();
    }
    fn validate(&mut self) -> crate::Result<Vec<Measure>> {
        self.inner.validate()
    }
    fn state(&self) -> crate::Result<LearnerState> {
        self.inner.state()
    }
    fn restore(&mut self, state: &LearnerState) -> crate::Result<()> {
        self.inner.restore(state)
    }
    fn write_model(&self, dir: &Path) -> crate::Result<()> {
        self.inner.write_model(dir)
    }
    fn steps_per_epoch(&self) -> Option<u64> {
        self.inner.steps_per_epoch()
    }
    fn parameters(&self) -> Parameters {
        self.inner.parameters()
    }
}

/// A stage from the TOML of its settings.
pub(crate) fn stage(settings: &str) -> Stage<SharedOnly> {
    let mut stage: serde_json::Value = toml::from_str(settings).unwrap();
    for (key, value) in [("steps", 10.into()), ("batch", 6.into()), ("objective", ().into())] {
        stage.as_object_mut().unwrap().entry(key).or_insert(value);
    }
    serde_json::from_value(stage).unwrap()
}

/// A learner of the toy task.
pub(crate) fn learner(toy: &Toy, stage: &Stage<SharedOnly>, seed: u64) -> TaskLearner<Cpu, Toy> {
    let build = |device: &_| Ok(Net::new(device));
    TaskLearner::new(toy.clone(), build, stage, Seed::new(seed), Default::default()).unwrap()
}
