//! What the contract between models and objectives can host: a toy model for each kind of model that
//! is not a stack of tokens with one head.

mod captions;
mod denoiser;
mod heads;
mod towers;
mod visibility;

use burn::{
    backend::Autodiff,
    optim::{AdamConfig, GradientsParams, Optimizer as _},
    tensor::{Tensor, TensorData},
};
use burn_flex::Flex;
use kiln_core::{Loss, Model, Seed, StepContext};
use rand::RngExt as _;
use rand_distr::StandardNormal;

type A = Autodiff<Flex>;

fn step<T>(seed: u64, run: impl FnOnce(&mut StepContext<'_>) -> T) -> T {
    run(&mut StepContext::new(&mut Seed::new(seed).rng()))
}

/// Trains a model for some steps; the loss of the last.
fn train<M, T>(mut model: M, rate: f64, steps: u64, loss: impl Fn(&M, u64) -> Loss<A>) -> (M, f32)
where
    M: burn::module::AutodiffModule<A> + Model<A, Batch = T>,
{
    let mut optimizer = AdamConfig::new().init();
    let mut last = f32::NAN;
    for number in 0..steps {
        let loss = loss(&model, number);
        last = loss.value.clone().into_scalar();
        let gradients = GradientsParams::from_grads(loss.value.backward(), &model);
        model = optimizer.step(rate, model, gradients);
    }
    (model, last)
}

/// Normal numbers, drawn on the host: tests in parallel share the backend's generator.
fn random(shape: [usize; 2], seed: u64) -> Tensor<A, 2> {
    let numbers = Seed::new(seed).rng().sample_iter(StandardNormal);
    let numbers: Vec<f32> = numbers.take(shape[0] * shape[1]).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &Default::default())
}
