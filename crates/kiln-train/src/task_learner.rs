//! One stage of training for a [`Task`]: the step itself.
//!
//! Everything random in a step is drawn from the stage's seed and the number of the micro-batch,
//! so a resumed stage draws what the undisturbed one would have drawn.

use crate::{
    Error, Result,
    adapters::{self, Adapters, Built},
    ema::Average,
    files,
    groups::{self, Groups, Role},
    learner::{Learner, LearnerState, MicroReport, Parameters, UpdateReport},
    loader::{self, Loader},
    named::{self, Flat},
    optim::Optimizer,
    recipe::{Common, Precision, SharedOnly, Stage},
    reset_embeddings::EmbeddingReset,
    task::{Measure, Task, TaskError},
    teacher::TeacherModel,
};
use burn::{
    module::AutodiffModule,
    tensor::{FloatDType, Tensor},
};
use kiln_core::{AutodiffBackend, Backend, DiagnosticValue, Rng, Seed, Size, StepContext};
use kiln_kernels::sum_of_squares;
use std::{collections::BTreeMap, path::Path, sync::Arc};

mod state;
mod weights;

use weights::Weights;

/// The seed of a stage of a recipe.
pub fn stage_seed(recipe: &Common, stage: usize) -> Seed {
    Seed::new(recipe.seed).part("stage").at(stage as u64)
}

/// A [`Learner`] of any task on any backend.
pub struct TaskLearner<B: AutodiffBackend, T: Task<B>> {
    task: Arc<T>,
    model: T::Model,
    device: B::Device,
    seed: Seed,
    groups: Groups,
    optimizer: Optimizer<B::InnerBackend>,
    average: Option<Average<B::InnerBackend>>,
    teacher: Option<TeacherModel<B, T::Model>>,
    reset_embeddings: Option<EmbeddingReset>,
    adapters: Option<Adapters<T::Model>>,
    clip: Option<f64>,
    /// Whether blocks compute in half precision.
    half: bool,
    batch: usize,
    accumulate: u64,
    steps_per_epoch: Option<u64>,
    /// The last step of the stage.
    last_step: u64,
    /// Batches, and the random numbers of each that are left once it was drawn for.
    loader: Loader<(T::HostBatch, Rng)>,
    /// Gradient accumulation: gradients of the micro-batches so far, summed by what each counts.
    accumulated_gradients: Flat<B::InnerBackend>,
    weights: Weights,
    /// Running statistics at the start of the step: a step that is dropped leaves no trace.
    buffers: Flat<B::InnerBackend>,
}

impl<B: AutodiffBackend, T: Task<B>> TaskLearner<B, T> {
    /// Prepares `stage` of a task.
    ///
    /// `build` makes the model, or loads it; it is called after the device was seeded, and
    /// parameters that are then still waiting are initialised in order. `seed` is the stage's, see
    /// [`stage_seed`].
    ///
    /// # Errors
    /// When `build` fails, a setting is out of range, a freeze pattern matches nothing, or there is
    /// no training data.
    pub fn new<M: Into<Built<T::Model>>>(
        task: T,
        build: impl FnOnce(&B::Device) -> std::result::Result<M, TaskError>,
        stage: &Stage<SharedOnly>,
        seed: Seed,
        device: B::Device,
    ) -> Result<Self> {
        check_settings(stage)?;
        B::seed(&device, seed.part("init").value());
        let Built { model, adapters } = build(&device)?.into();
        adapters::check(stage.adapt.as_ref(), adapters.as_ref())?;
        let listed = named::list(&model);
        let held = |name: &str| adapters.as_ref().is_some_and(|adapters| adapters.holds(name));
        let layer_index = |name: &str| task.layer_index(name);
        let groups = groups::plan(&listed, &stage.freeze, held, stage.layer_decay, layer_index)?;
        let role = |name: &str| groups.get(name).map(|parameter| parameter.role);
        let model = named::freeze::<B, _>(model, |name| role(name) == Some(Role::Frozen));

        let trained = || {
            let mut weights = named::weights(&model.valid());
            weights.retain(|name, _| role(name) == Some(Role::Trained));
            weights
        };
        let averaged = |decay| Average::new(decay, trained());
        let reset = stage.forget.as_ref();
        let reset = reset.map(|reset| EmbeddingReset::new(reset, stage, &trained(), seed));
        let reset_embeddings = reset.transpose()?;
        let average = stage.ema.map(averaged);
        let teacher = task.teacher().map(|teacher| TeacherModel::new(teacher, &model, averaged));
        let task = Arc::new(task);
        let collate = {
            let (task, accumulate) = (task.clone(), stage.accumulate);
            move |number, examples| {
                let mut rng = seed.part("objective").at(number).rng();
                let step = number / accumulate;
                let context = StepContext { step, ..StepContext::new(&mut rng) };
                let step_seed = seed.part("step").at(step);
                let batch = task.collate(examples, &mut StepContext { step_seed, ..context })?;
                Ok((batch, rng))
            }
        };
        let source = task.source();
        let steps_per_epoch = match source.size() {
            Size::Known(examples) => {
                Some(examples.div_ceil(stage.accumulate.saturating_mul(stage.batch as u64)))
            }
            Size::Endless => None,
        };
        let loader = Loader::new(
            source,
            collate,
            stage.batch as u64,
            task.shuffle().then(|| seed.part("order")),
            loader::threads(),
        )?;
        Ok(Self {
            task,
            model,
            device,
            seed,
            groups,
            optimizer: Optimizer::new(stage.optimizer.clone()),
            average,
            teacher,
            reset_embeddings,
            adapters,
            clip: stage.clip,
            half: stage.precision == Precision::Bf16,
            batch: stage.batch,
            accumulate: stage.accumulate,
            steps_per_epoch,
            last_step: stage.steps.saturating_sub(1),
            loader,
            accumulated_gradients: BTreeMap::new(),
            weights: Weights::default(),
            buffers: BTreeMap::new(),
        })
    }

    /// The model as it is trained, without its moving average.
    pub fn model(&self) -> &T::Model {
        &self.model
    }

    /// The model to measure and to save: its moving average where there is one.
    pub fn averaged(&self) -> <T::Model as AutodiffModule<B>>::InnerModule {
        let model = self.model.valid();
        match &self.average {
            Some(average) => named::replace(model, average.weights()),
            None => model,
        }
    }

    fn teacher(&self) -> Option<T::Model> {
        self.teacher.as_ref().map(|teacher| teacher.model(&self.model, &self.groups))
    }

    /// What is done with each parameter.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    fn role(&self, name: &str) -> Option<Role> {
        self.groups.get(name).map(|parameter| parameter.role)
    }

    /// Puts values in the place of parameters of the model under training.
    fn put(&mut self, values: &Flat<B::InnerBackend>) {
        // Pending running statistics would overwrite what is put: bring them in first.
        drop(self.model.valid());
        self.put_all(values.clone());
    }

    fn put_all(&mut self, values: Flat<B::InnerBackend>) {
        let shape = |name: &str| self.groups.get(name).map(|parameter| &parameter.shape[..]);
        self.model = named::put::<B, _>(self.model.clone(), values, shape);
    }

    fn keep_buffers(&mut self) {
        if self.groups.values().any(|parameter| parameter.role == Role::Buffer) {
            let mut weights = named::weights(&self.model.valid());
            weights.retain(|name, _| self.role(name) == Some(Role::Buffer));
            self.buffers = weights;
        }
    }
}

impl<B: AutodiffBackend, T: Task<B>> Learner for TaskLearner<B, T> {
    fn accumulate(&mut self, step: u64, micro: u64, collect_metrics: bool) -> Result<MicroReport> {
        let number = step * self.accumulate + micro;
        let waited = self.loader.take(number)?;
        if micro == 0 {
            self.keep_buffers();
        }
        let (batch, mut rng) = waited.batch;
        let tokens = self.task.tokens(&batch);
        let kind = self.task.kind(&batch).map(str::to_owned);
        let seed = self.seed.part("dropout").at(number).value();
        B::seed(&self.device, seed);
        kiln_kernels::reseed(seed);
        let shared = self.seed.part("step").at(step);
        let mut context = StepContext { rng: &mut rng, collect_metrics, step, step_seed: shared };
        let cast = self.half.then(|| {
            let block = |name: &str| {
                self.task.layer_index(name).is_some() && self.role(name) != Some(Role::Buffer)
            };
            named::cast::<B, _>(self.model.clone(), FloatDType::BF16, block)
        });
        let model = cast.as_ref().unwrap_or(&self.model);
        let teacher = self.teacher();
        let loss = self.task.loss(model, teacher.as_ref(), batch, &mut context, &self.device)?;

        let mut numbers = vec![loss.value.clone().inner()];
        numbers.extend(loss.diagnostics.iter().map(|(_, value)| value.clone().inner()));
        // Backward is queued before the loss is waited for, so that a GPU does not pause.
        let weight = self.weights.next(kind, loss.count);
        let gradients = weight.map(|weight| match weight {
            1.0 => loss.value.backward(),
            weight => loss.value.mul_scalar(weight).backward(),
        });
        let numbers = read(Tensor::cat(numbers, 0))?;
        let value = numbers.first().copied().map_or(f64::NAN, f64::from);
        if let Some(gradients) = gradients {
            named::add_gradients::<B, _>(&self.model, gradients, &mut self.accumulated_gradients);
        }
        let diagnostics = loss.diagnostics.iter().zip(numbers.iter().skip(1));
        Ok(MicroReport {
            loss: value,
            count: loss.count,
            weight: weight.unwrap_or(0.0),
            examples: self.batch,
            tokens,
            diagnostics: diagnostics
                .map(|((diagnostic, _), value)| DiagnosticValue {
                    diagnostic: *diagnostic,
                    value: f64::from(*value),
                })
                .collect(),
            waited: waited.seconds,
        })
    }

    fn update(&mut self, learning_rate: f64) -> Result<UpdateReport> {
        let gradients = std::mem::take(&mut self.accumulated_gradients);
        let weights = std::mem::take(&mut self.weights).sum();
        if gradients.is_empty() {
            return Ok(UpdateReport { gradient_norm: 0.0, clipped: false, applied: true });
        }
        let gradient_norm = norm(&gradients)? / weights;
        if !gradient_norm.is_finite() {
            let buffers = std::mem::take(&mut self.buffers);
            self.put(&buffers);
            return Ok(UpdateReport { gradient_norm, clipped: false, applied: false });
        }
        let factor = clip_factor(gradient_norm, self.clip);
        let scale = factor / weights;

        // The model lets go of the weights for the time of the update.
        let (emptied, values) =
            named::take::<B, _>(self.model.clone(), |name| gradients.contains_key(name));
        self.model = emptied;
        let (reset, before) = (self.reset_embeddings.as_ref(), self.optimizer.updates());
        let own = |name: &str| reset.and_then(|reset| reset.rate(name, before));
        let rate = |name: &str| own(name).unwrap_or(learning_rate);
        let mut values = self.optimizer.step(&self.groups, values, gradients, scale, rate);
        let updates = self.optimizer.updates();
        for name in self.reset_embeddings.iter().flat_map(|reset| reset.due(updates)) {
            if let (Some(reset), Some(weight)) = (&self.reset_embeddings, values.get_mut(name)) {
                *weight = reset.draw(name, weight, updates);
                self.optimizer.reset_state(name);
            }
        }
        for average in self.averages_mut() {
            average.update(&values, updates);
        }
        self.put_all(values);
        Ok(UpdateReport { gradient_norm, clipped: factor < 1.0, applied: true })
    }

    fn discard(&mut self) {
        self.accumulated_gradients.clear();
        self.weights = Weights::default();
        let buffers = std::mem::take(&mut self.buffers);
        self.put(&buffers);
    }

    fn validate(&mut self) -> Result<Vec<Measure>> {
        // Training reseeds at each micro-batch, so this does not disturb it.
        B::seed(&self.device, self.seed.part("validate").value());
        let teacher = self.teacher().map(|teacher| teacher.valid());
        let (model, teacher) = (self.averaged(), teacher.as_ref());
        Ok(self.task.validate(&model, teacher, self.seed, self.last_step, &self.device)?)
    }

    fn state(&self) -> Result<LearnerState> {
        self.save()
    }

    fn restore(&mut self, state: &LearnerState) -> Result<()> {
        self.load(state)
    }

    fn write_model(&self, dir: &Path) -> Result<()> {
        files::create_dir(dir)?;
        let Some(adapters) = &self.adapters else {
            return Ok(self.task.write_model(&self.averaged(), dir)?);
        };
        // Pending running statistics are brought in first, see `put`.
        drop(self.model.valid());
        let shape = |name: &str| self.groups.get(name).map(|parameter| &parameter.shape[..]);
        let average = self.average.as_ref().map(|average| average.weights().clone());
        let model = named::put::<B, _>(self.model.clone(), average.unwrap_or_default(), shape);
        adapters.write(self.task.as_ref(), &model, &self.groups, dir)
    }

    fn steps_per_epoch(&self) -> Option<u64> {
        self.steps_per_epoch
    }

    fn parameters(&self) -> Parameters {
        let count = |role: Role| {
            let group = self.groups.values().filter(|parameter| parameter.role == role);
            group.map(|parameter| parameter.shape.iter().product::<usize>()).sum::<usize>()
        };
        Parameters { trainable: count(Role::Trained), frozen: count(Role::Frozen) }
    }
}

/// The joint norm of gradients.
pub(crate) fn norm<B: Backend>(gradients: &Flat<B>) -> Result<f64> {
    let Some(squares) = sum_of_squares(gradients.values().cloned().collect()) else {
        return Ok(0.0);
    };
    let squares = read(squares)?;
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// What gradients of this norm are multiplied with; 1 when they are short enough. The small number
/// is PyTorch's, so that clipped runs can be compared.
pub(crate) fn clip_factor(norm: f64, clip: Option<f64>) -> f64 {
    clip.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0))
}

/// Waits for a tensor's values.
fn read<B: Backend>(tensor: Tensor<B, 1>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|error| Error::Device(error.to_string()))?;
    data.convert::<f32>().into_vec().map_err(|error| Error::Device(format!("{error:?}")))
}

fn check_settings(stage: &Stage<SharedOnly>) -> Result<()> {
    let check = |fine: bool, key, got: String, expected| {
        if fine { Ok(()) } else { Err(Error::Setting { key, got, expected }) }
    };
    check(stage.batch > 0, "batch", stage.batch.to_string(), "at least 1")?;
    check(stage.accumulate > 0, "accumulate", stage.accumulate.to_string(), "at least 1")?;
    let rate = stage.optimizer.learning_rate();
    let fine = rate.is_finite() && rate >= 0.0;
    check(fine, "learning_rate", rate.to_string(), "a finite number, zero or more")?;
    if let Some(clip) = stage.clip {
        check(clip > 0.0, "clip", clip.to_string(), "more than 0")?;
    }
    if let Some(decay) = stage.ema {
        check((0.0..1.0).contains(&decay), "ema", decay.to_string(), "0 or more, less than 1")?;
    }
    if let Some(decay) = stage.layer_decay {
        let fine = decay > 0.0 && decay <= 1.0;
        check(fine, "layer_decay", decay.to_string(), "more than 0, at most 1")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
