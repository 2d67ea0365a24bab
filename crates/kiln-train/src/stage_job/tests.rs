//! A toy modality, as small as one can be: it trains, resumes and saves.

use super::*;
use crate::{
    RunOptions,
    architecture::{ModelSource, StageCost, ValidationSet},
    learner::Learner,
    recipe::ModalitySpec,
    run,
    task::TaskError,
    testing::{Line, Net, alone},
};
use burn::tensor::{Tensor, TensorData};
use kiln_core::{
    Backend, Capabilities, HostBatch, Labelled, Lack, Layout, Loss, Model, Need, Provide, Rng,
    StepContext, TaskLoss,
};
use kiln_hub::{Weights, collect};
use kiln_nn::adapt::Adapt;
use kiln_objectives::{Objective, RefusedObjective};

type Point = (u64, [f32; 3]);
type Outcome<T> = std::result::Result<T, TaskError>;

impl<B: Backend> Adapt<B> for Net<B> {}

/// Inputs and targets are columns of a batch; its only capability is its own task.
impl<B: Backend> Model<B> for Net<B> {
    type Batch = Tensor<B, 2>;

    fn device(&self, batch: &Tensor<B, 2>) -> B::Device {
        batch.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Tensor<B, 2>> {
        Capabilities { labelled: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> Labelled<B, Tensor<B, 2>> for Net<B> {
    fn supervised(&self, batch: &Tensor<B, 2>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let error = self.forward(batch.clone().narrow(1, 0, 2)) - batch.clone().narrow(1, 2, 1);
        TaskLoss { loss: Loss::new(error.square().mean(), batch.dims()[0]), tokens: None }
    }
}

impl Provide for Toy {
    fn provide(&mut self, need: &Need) -> std::result::Result<(), Lack> {
        if *need == Need::Labels { Ok(()) } else { Err(need.lack("points")) }
    }
}

/// Recipes: `data` is a number of examples, `model` has nothing to say.
#[derive(Clone, Debug)]
struct ToyRecipe;

impl ModalitySpec for ToyRecipe {
    type Data = u64;
    type Model = u64;
    type Objective = Objective;
    type Evaluation = u64;
}

struct Toy;

#[rustfmt::skip]
impl Architecture for Toy {
    type Spec = ToyRecipe;
    type Config = u64;
    type Example = Point;
    type HostBatch = Vec<f32>;
    type Data = ();
    type Batch<B: Backend> = Tensor<B, 2>;
    type Model<B: Backend> = Net<B>;
    type Trained<B: AutodiffBackend> = Net<B>;

    fn model(recipe: &Recipe<ToyRecipe>) -> Outcome<ModelSource<u64>> {
        Ok(ModelSource { key: "toy", config: Ok(recipe.model), directory: None })
    }
    fn check_objective(stage: &StageSpec<'_, Self>) -> std::result::Result<(), RefusedObjective> {
        stage.settings.objective.prepare(&mut Self)
    }
    fn plan(stage: &StageSpec<'_, Self>, _: Option<&u64>, _: Option<&Path>) -> Outcome<StageCost<u64>> {
        let examples = Some(*stage.data());
        Ok(StageCost { config: 0, examples, forward_flops: 1.0, tokens: 1.0, activations: 1.0 })
    }
    fn open(stage: &StageSpec<'_, Self>, _: Option<&Start>) -> Outcome<OpenStage<Self>> {
        let validation = ValidationSet::only(vec![(0, [0.5, 0.5, 1.0]), (1, [-0.5, 0.2, -0.7])]);
        let train = Arc::new(Line { examples: *stage.data(), broken: None });
        let objective = stage.settings.objective.clone();
        Ok(OpenStage { config: 0, objective, train, shuffle: true, validation, validation_batch: 2, data: () })
    }
    fn init<B: AutodiffBackend>(_: u64, device: &B::Device) -> Outcome<Net<B>> {
        Ok(Net::new(device))
    }
    fn read_weights<B: AutodiffBackend>(_: &OpenStage<Self>, dir: &Path, _: bool, _: &Net<B>, _: &B::Device) -> Outcome<Weights> {
        Ok(Weights::read_file(&dir.join("model.safetensors"))?)
    }
    fn collate(_: &OpenStage<Self>, points: &[Point], _: &mut Rng) -> Outcome<Option<Vec<f32>>> {
        Ok(Some(points.iter().flat_map(|(_, point)| *point).collect()))
    }
    fn host<'a>(_: &'a OpenStage<Self>, batch: &'a Vec<f32>) -> Box<dyn HostBatch + 'a> {
        Box::new(Layout::new(batch.len() / 3, 1))
    }
    fn tokens(_: &OpenStage<Self>, batch: &Vec<f32>) -> usize {
        batch.len() / 3
    }
    fn upload<B: Backend>(_: &OpenStage<Self>, batch: Vec<f32>, device: &B::Device) -> Tensor<B, 2> {
        let shape = [batch.len() / 3, 3];
        Tensor::from_data(TensorData::new(batch, shape), device)
    }
    fn write<B: Backend>(_: &OpenStage<Self>, model: &Net<B>, dir: &Path) -> Outcome<()> {
        Ok(collect(model)?.write(&dir.join("model.safetensors"))?)
    }
    fn evaluate(_: &Recipe<ToyRecipe>, _: &Path, _: Seed) -> Outcome<Evaluation> {
        Ok(Evaluation::default())
    }
}

const RECIPE: &str = "name = 'toy'\nmodality = 'toy'\ndata = 20\nmodel = 1\n";

/// The job of a recipe whose stages have these lines.
fn job(stages: &[&str]) -> crate::Result<StageJob<Toy>> {
    let stages: String = stages.iter().map(|lines| format!("[[stage]]\n{lines}\n")).collect();
    StageJob::new(&RecipeText { path: "toy.toml".into(), text: format!("{RECIPE}{stages}") })
}

const STAGE: &str = "objective.supervised = {}\nsteps = 100\nbatch = 6\nvalidate_every = 50\n\
                     optimizer.adamw = { learning_rate = 0.02 }";

fn train(learner: &mut dyn Learner, steps: std::ops::Range<u64>) {
    for step in steps {
        learner.accumulate(step, 0, false).unwrap();
        learner.update(0.02).unwrap();
    }
}

#[test]
fn a_toy_trains_and_saves_what_the_next_stage_starts_from() {
    let _turn = alone();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("toy");
    let job = job(&[STAGE, STAGE]).unwrap();
    let plan = job.plan().unwrap();
    assert_eq!((plan.len(), plan[0].examples, plan[0].flops_per_step), (2, Some(20), 3.0));
    run(&job, &RunOptions { quiet: true, ..RunOptions::new(&dir) }).unwrap();
    assert!(dir.join("model/model.safetensors").exists());
    let Prepared { mut learner, init } = job.learner(1, Some(&dir.join("model"))).unwrap();
    let init = init.unwrap();
    assert!(init.loaded > 0 && init.missing.is_empty() && init.unused.is_empty(), "{init:?}");
    let measures = learner.validate().unwrap();
    assert!(measures[0].value < 0.5, "{measures:?}");
}

#[test]
fn a_toy_resumes_to_the_same_bits() {
    let _turn = alone();
    let job = job(&[STAGE]).unwrap();
    let mut undisturbed = job.learner(0, None).unwrap().learner;
    train(undisturbed.as_mut(), 0..3);
    let state = undisturbed.state().unwrap();
    train(undisturbed.as_mut(), 3..6);
    let mut resumed = job.learner(0, None).unwrap().learner;
    resumed.restore(&state).unwrap();
    resumed.validate().unwrap();
    train(resumed.as_mut(), 3..6);
    assert_eq!(resumed.state().unwrap(), undisturbed.state().unwrap());
}

#[test]
fn an_objective_that_the_toy_cannot_train_is_refused_with_its_key() {
    let error = job(&[&STAGE.replace("supervised", "masked")]).map(|_| ()).unwrap_err();
    assert!(matches!(error, crate::Error::Recipe(_)), "{error}");
}
