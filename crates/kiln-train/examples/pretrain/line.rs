//! The smallest task: a line with noise.

use burn::{
    module::AutodiffModule,
    nn::{Linear, LinearConfig},
    tensor::{Tensor, TensorData},
};
use kiln_core::{AutodiffBackend, Backend, Diagnostic, Loss, Seed, Size, Source, StepContext};
use kiln_train::task::{Measure, Task, TaskError, TaskSource, TaskSourceError};
use rand::RngExt as _;
use std::{path::Path, sync::Arc};

/// Learns `y = 3·x − 1` from noisy points.
pub struct Line;

/// The model: one weight, one bias.
pub fn model<B: Backend>(device: &B::Device) -> Linear<B> {
    LinearConfig::new(1, 1).init(device)
}

/// `(x, y)` by index, generated.
struct Points;

impl Source for Points {
    type Example = (f32, f32);
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Endless
    }

    fn example(&self, index: u64) -> Result<(f32, f32), TaskSourceError> {
        let mut rng = Seed::new(7).at(index).rng();
        let (x, noise) = (rng.random::<f32>(), rng.random::<f32>() - 0.5);
        Ok((x, 3.0 * x - 1.0 + 0.1 * noise))
    }
}

impl<B: AutodiffBackend> Task<B> for Line {
    type Model = Linear<B>;
    type Example = (f32, f32);
    type HostBatch = Vec<(f32, f32)>;

    fn source(&self) -> TaskSource<Self::Example> {
        Arc::new(Points)
    }

    fn collate(
        &self,
        examples: Vec<Self::Example>,
        _: &mut StepContext<'_>,
    ) -> Result<Self::HostBatch, TaskError> {
        Ok(examples)
    }

    fn tokens(&self, batch: &Self::HostBatch) -> usize {
        batch.len()
    }

    fn loss(
        &self,
        model: &Linear<B>,
        _teacher: Option<&Linear<B>>,
        batch: Self::HostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError> {
        let count = batch.len();
        let (error, targets) = error(model, batch, device);
        let loss = Loss::new(error, count);
        Ok(if context.collect_metrics {
            loss.with_diagnostic(Diagnostic::BaselineLoss, targets.var(0).mean())
        } else {
            loss
        })
    }

    fn validate(
        &self,
        model: &<Linear<B> as AutodiffModule<B>>::InnerModule,
        _teacher: Option<&<Linear<B> as AutodiffModule<B>>::InnerModule>,
        _seed: Seed,
        _step: u64,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let points = (0..20).map(|i| i as f32 / 20.0).map(|x| (x, 3.0 * x - 1.0)).collect();
        let (error, _) = error(model, points, device);
        let value = error.into_data().iter::<f64>().sum();
        Ok(vec![Measure { name: "mse".into(), value }])
    }

    fn write_model(
        &self,
        model: &<Linear<B> as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError> {
        let weight = model.weight.val().into_data();
        Ok(std::fs::write(dir.join("model.txt"), format!("{weight}\n{model}\n"))?)
    }
}

/// The mean squared error, `[1]`, and the targets, `[batch, 1]`.
fn error<B: Backend>(
    model: &Linear<B>,
    points: Vec<(f32, f32)>,
    device: &B::Device,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let (x, y): (Vec<_>, Vec<_>) = points.into_iter().unzip();
    let column = |values: Vec<f32>| {
        let shape = [values.len(), 1];
        Tensor::<B, 2>::from_data(TensorData::new(values, shape), device)
    };
    let targets = column(y);
    let error = (model.forward(column(x)) - targets.clone()).square().mean();
    (error, targets)
}
