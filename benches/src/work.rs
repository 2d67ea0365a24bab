//! A model at work: training steps as `kiln run` makes them, and forward passes.

use crate::{
    Result,
    models::{Bert, Gpt2, Mae, Model, TinyTimeMixer, Wav2Vec2},
    tensors::Tensors,
};
use burn::{module::AutodiffModule, tensor::Tensor};
use kiln_core::{AutodiffBackend, Backend, Loss, Seed, Size, Source, StepContext};
use kiln_hub::Mode;
use kiln_train::{
    learner::Learner,
    recipe::{SharedOnly, Stage},
    task::{Task, TaskError, TaskSource, TaskSourceError},
    task_learner::TaskLearner,
};
use std::{path::Path, sync::Arc, time::Instant};

/// AdamW's settings, the same on PyTorch's side.
const RATE: f64 = 1e-4;

/// The names of all works.
pub const NAMES: [&str; 6] = ["mae", "bert", "gpt2", "wav2vec2", "wav2vec2-base", "ttm"];

/// A work whose model and backend are hidden.
pub trait Work {
    /// The loss of the training batch; no weight changes.
    ///
    /// # Errors
    /// When the device fails.
    fn loss(&mut self) -> Result<f64>;

    /// One training step.
    ///
    /// # Errors
    /// When the device fails.
    fn train(&mut self) -> Result<Step>;

    /// `count` forward passes on the batch of one: some 64 of the values that came out, evenly
    /// spaced, and the seconds of each pass.
    ///
    /// # Errors
    /// When the device fails.
    fn infer(&self, count: usize) -> Result<(Vec<f64>, Vec<f64>)>;
}

/// What a training step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Before the step.
    pub loss: f64,
    /// All of it.
    pub seconds: f64,
    /// Of those, what clipping and the optimizer took; on a GPU, until they were queued.
    pub update: f64,
}

/// Prepares a work on a device with the weights and inputs of a file.
///
/// # Errors
/// When there is no such work, or the file does not fit it.
pub fn open<B: AutodiffBackend>(
    name: &str,
    tensors: Tensors,
    device: B::Device,
) -> Result<Box<dyn Work>> {
    Ok(match name {
        "mae" => Box::new(Running::<B, Mae<B>>::new(tensors, device)?),
        "bert" => Box::new(Running::<B, Bert<B>>::new(tensors, device)?),
        "gpt2" => Box::new(Running::<B, Gpt2<B>>::new(tensors, device)?),
        "wav2vec2" => Box::new(Running::<B, Wav2Vec2<B, 4>>::new(tensors, device)?),
        "wav2vec2-base" => Box::new(Running::<B, Wav2Vec2<B, 12>>::new(tensors, device)?),
        "ttm" => Box::new(Running::<B, TinyTimeMixer<B>>::new(tensors, device)?),
        _ => return Err(format!("no work `{name}`; there are {}", NAMES.join(", ")).into()),
    })
}

/// A model that can be trained and, without gradients, asked.
trait Trainable<B: AutodiffBackend>:
    Model<B> + AutodiffModule<B, InnerModule: Model<B::InnerBackend>> + 'static
{
}

impl<B: AutodiffBackend, M> Trainable<B> for M where
    M: Model<B> + AutodiffModule<B, InnerModule: Model<B::InnerBackend>> + 'static
{
}

type Inner<B, M> = <M as AutodiffModule<B>>::InnerModule;
type InnerBackend<B> = <B as burn::tensor::backend::AutodiffBackend>::InnerBackend;
type Query<B, M> = <Inner<B, M> as Model<InnerBackend<B>>>::Query;

struct Running<B: AutodiffBackend, M: Trainable<B>> {
    learner: TaskLearner<B, Repeated<B, M>>,
    query: Query<B, M>,
    device: B::Device,
    steps: u64,
}

impl<B: AutodiffBackend, M: Trainable<B>> Running<B, M> {
    fn new(mut tensors: Tensors, device: B::Device) -> Result<Self> {
        let weights = tensors.take("model.");
        let batch = M::batch(&tensors.take("train."), &device)?;
        let query = Inner::<B, M>::query(&tensors.take("infer."), &device)?;
        let build = |device: &B::Device| -> Result<M> {
            let mut model = M::new(device);
            kiln_hub::apply(&mut model, weights.weights(), Mode::Strict)?;
            Ok(model)
        };
        let task = Repeated { batch };
        let learner = TaskLearner::new(task, build, &stage()?, Seed::new(0), device.clone())?;
        Ok(Self { learner, query, device, steps: 0 })
    }
}

/// The settings of a stage with the defaults of recipes, gradients clipped as those say.
fn stage() -> Result<Stage<SharedOnly>> {
    let stage = serde_json::json!({
        "objective": null,
        "steps": 1,
        "batch": 1,
        "optimizer": { "adamw": { "learning_rate": RATE } },
    });
    Ok(serde_json::from_value(stage)?)
}

impl<B: AutodiffBackend, M: Trainable<B>> Work for Running<B, M> {
    fn loss(&mut self) -> Result<f64> {
        let report = self.learner.accumulate(self.steps, 0, false)?;
        self.learner.discard();
        Ok(report.loss)
    }

    fn train(&mut self) -> Result<Step> {
        B::sync(&self.device)?;
        let began = Instant::now();
        let report = self.learner.accumulate(self.steps, 0, false)?;
        let accumulated = Instant::now();
        self.learner.update(RATE)?;
        let update = accumulated.elapsed().as_secs_f64();
        B::sync(&self.device)?;
        self.steps += 1;
        Ok(Step { loss: report.loss, seconds: began.elapsed().as_secs_f64(), update })
    }

    fn infer(&self, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let model = self.learner.averaged();
        let sample = sample(model.infer(&self.query));
        let mut seconds = Vec::with_capacity(count);
        for _ in 0..count {
            B::sync(&self.device)?;
            let began = Instant::now();
            let answer = model.infer(&self.query);
            B::sync(&self.device)?;
            seconds.push(began.elapsed().as_secs_f64());
            // Until here, so that no backend may leave out what nothing reads.
            drop(answer);
        }
        Ok((sample, seconds))
    }
}

/// Some 64 values, evenly spaced.
fn sample<B: Backend>(x: Tensor<B, 3>) -> Vec<f64> {
    let data = x.into_data();
    let every = (data.num_elements() / 64).max(1);
    data.iter::<f64>().step_by(every).collect()
}

/// The same batch at every step.
struct Repeated<B: AutodiffBackend, M: Model<B>> {
    batch: M::Batch,
}

/// Nothing, endlessly.
struct Nothing;

impl Source for Nothing {
    type Example = ();
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Endless
    }

    fn example(&self, _index: u64) -> std::result::Result<(), TaskSourceError> {
        Ok(())
    }
}

impl<B: AutodiffBackend, M: Trainable<B>> Task<B> for Repeated<B, M> {
    type Model = M;
    type Example = ();
    type HostBatch = ();

    fn source(&self) -> TaskSource<()> {
        Arc::new(Nothing)
    }

    fn collate(&self, _: Vec<()>, _: &mut StepContext<'_>) -> std::result::Result<(), TaskError> {
        Ok(())
    }

    fn tokens(&self, _batch: &()) -> usize {
        0
    }

    fn loss(
        &self,
        model: &M,
        _: Option<&M>,
        _: (),
        _: &mut StepContext<'_>,
        _: &B::Device,
    ) -> std::result::Result<Loss<B>, TaskError> {
        Ok(Loss::new(model.loss(&self.batch), 1))
    }

    fn write_model(
        &self,
        _model: &M::InnerModule,
        _dir: &Path,
    ) -> std::result::Result<(), TaskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn_flex::Flex;
    use kiln_hub::{Weight, Weights, collect};

    /// A Tiny Time Mixer with a small batch, as the Python side writes it.
    fn file(change: impl FnOnce(&mut Weights)) -> Tensors {
        let model = TinyTimeMixer::<Flex>::new(&Default::default());
        let mut weights = Weights::default();
        for (name, weight) in collect::<Flex, _>(&model).unwrap().tensors {
            weights.tensors.insert(format!("model.{name}"), weight);
        }
        for (name, shape) in
            [("train.past", [4, 512, 2]), ("train.future", [4, 96, 2]), ("infer.past", [1, 512, 2])]
        {
            let count = shape.iter().product::<usize>();
            let values = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
            weights.tensors.insert(name.into(), Weight { shape: shape.to_vec(), values });
        }
        change(&mut weights);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.safetensors");
        weights.write(&path).unwrap();
        Tensors::read(&path).unwrap()
    }

    fn start(name: &str, tensors: Tensors) -> Result<Box<dyn Work>> {
        open::<Autodiff<Flex>>(name, tensors, Default::default())
    }

    #[test]
    fn a_work_is_asked_and_trained() {
        let mut work = start("ttm", file(|_| {})).unwrap();
        let loss = work.loss().unwrap();
        assert_eq!(work.loss().unwrap(), loss, "asking changes nothing");
        let (sample, seconds) = work.infer(2).unwrap();
        assert_eq!(seconds.len(), 2);
        assert_eq!(sample.len(), 64);
        let steps: Vec<Step> = (0..3).map(|_| work.train().unwrap()).collect();
        assert_eq!(steps[0].loss, loss);
        assert!(steps[2].loss < loss, "{steps:?}");
        assert!(steps.iter().all(|step| 0.0 < step.update && step.update < step.seconds));
        assert_ne!(work.infer(0).unwrap().0, sample, "what was trained is asked");
    }

    #[test]
    fn files_must_fit() {
        let problem = |name, tensors| start(name, tensors).err().unwrap().to_string();
        let tensors = file(|weights| {
            weights.tensors.remove("model.head.bias");
        });
        assert!(problem("ttm", tensors).contains("head.bias"));
        let tensors = file(|weights| {
            weights.tensors.remove("train.past");
        });
        assert_eq!(problem("ttm", tensors), "no floats `past` of rank 3");
        assert!(problem("bert", file(|_| {})).contains("no 64-bit integers `ids`"));
        assert!(problem("alexnet", file(|_| {})).starts_with("no work `alexnet`"));
    }
}
