//! A denoiser with a condition that may be dropped.

use super::{A, random, step, train};
use crate::{Diffusion, ObjectiveSpec as _, Prediction};
use burn::{
    module::Module,
    tensor::{Bool, ElementConversion as _, Tensor, activation::silu},
};
use kiln_core::{Backend, Capabilities, Denoise, Diagnostic, HostBatch, Layout, Model};
use kiln_nn::{Linear, LinearConfig};

/// A denoiser of single numbers, `[batch, 1, 1]`, with a condition of three kinds: none, left, right.
#[derive(Module, Debug)]
struct Numbers<B: Backend> {
    input: Linear<B>,
    hidden: Linear<B>,
    output: Linear<B>,
}

/// Numbers `[batch]`, and the side that each is on, -1 or 1.
struct Sides<B: Backend> {
    values: Tensor<B, 1>,
    sides: Tensor<B, 1>,
}

impl<B: Backend> Numbers<B> {
    fn new(device: &B::Device) -> Self {
        Self {
            input: LinearConfig::new(4, 32).init(device),
            hidden: LinearConfig::new(32, 32).init(device),
            output: LinearConfig::new(32, 1).init(device),
        }
    }
}

impl<B: Backend> HostBatch for Sides<B> {
    fn layout(&self) -> Layout {
        Layout::new(self.values.dims()[0], 1)
    }
}

impl<B: Backend> Model<B> for Numbers<B> {
    type Batch = Sides<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { denoise: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> Denoise<B, Sides<B>> for Numbers<B> {
    fn clean(&self, batch: &Sides<B>) -> Tensor<B, 3> {
        let [count] = batch.values.dims();
        batch.values.clone().reshape([count, 1, 1])
    }

    fn denoise(
        &self,
        batch: &Sides<B>,
        noisy: Tensor<B, 3>,
        time: Tensor<B, 1>,
        drop_condition: Tensor<B, 1, Bool>,
    ) -> Tensor<B, 3> {
        let [count, ..] = noisy.dims();
        let side = batch.sides.clone().mask_fill(drop_condition, 0.0);
        let column = |x: Tensor<B, 1>| x.reshape([count, 1]);
        let angle = time.clone().mul_scalar(std::f64::consts::PI);
        let inputs =
            vec![noisy.reshape([count, 1]), column(time), column(angle.cos()), column(side)];
        let x = silu(self.input.forward(Tensor::cat(inputs, 1)));
        self.output.forward(silu(self.hidden.forward(x))).reshape([count, 1, 1])
    }
}

/// A mixture of two narrow Gaussians, at -2 and 2.
fn mixture(count: usize, seed: u64) -> Sides<A> {
    let sides = random([count, 1], seed).reshape([count]).sign();
    let noise = random([count, 1], seed + 1).reshape([count]).mul_scalar(0.1);
    Sides { values: sides.clone().mul_scalar(2.0) + noise, sides }
}

/// Numbers drawn by deterministic steps from noise to data, with a condition or without one.
fn drawn(model: &Numbers<A>, prediction: Prediction, side: Option<f32>) -> Vec<f32> {
    let (count, steps) = (200, 40);
    let device = Default::default();
    let sides = Tensor::<A, 1>::full([count], side.unwrap_or(0.0), &device);
    let batch = Sides { values: sides.clone(), sides };
    let dropped = Tensor::<A, 1>::full([count], f32::from(u8::from(side.is_none())), &device);
    let dropped = dropped.greater_elem(0.5);
    let mut x = random([count, 1], 77).reshape([count, 1, 1]);
    for number in (1..=steps).rev() {
        // The first step is not from noise alone, of which no data can be read.
        let [now, next] = [number, number - 1].map(|at| {
            Tensor::<A, 1>::full([count], 0.98 * f64::from(at) / f64::from(steps), &device)
        });
        let predicted = model.denoise(&batch, x.clone(), now.clone(), dropped.clone()).detach();
        let clean = prediction.clean(x.clone(), predicted, now.clone()).clamp(-4.0, 4.0);
        let three = |x: Tensor<A, 1>| x.reshape([count, 1, 1]);
        let (a, s) = prediction.schedule(now);
        let noise = (x - clean.clone() * three(a)) / three(s);
        let (a, s) = prediction.schedule(next);
        x = (clean * three(a) + noise * three(s)).detach();
    }
    x.into_data().iter::<f32>().collect()
}

#[test]
fn denoisers_learn_a_mixture_of_gaussians_by_any_target() {
    for prediction in [Prediction::Noise, Prediction::Velocity, Prediction::Flow] {
        let objective = Diffusion { prediction, drop_condition: 0.3 };
        let loss = |model: &Numbers<A>, seed| {
            let batch = mixture(256, 2 * seed);
            step(seed, |context| objective.loss(model, None, &batch, context)).unwrap()
        };
        <A as burn::tensor::backend::Backend>::seed(&Default::default(), 5);
        let (model, _) = train(Numbers::new(&Default::default()), 1e-2, 400, loss);
        let free = drawn(&model, prediction, None);
        let size = free.iter().map(|x| x.abs()).sum::<f32>() / free.len() as f32;
        let right = free.iter().filter(|x| **x > 0.0).count() as f32 / free.len() as f32;
        assert!((size - 2.0).abs() < 0.4, "{prediction:?}: {size}");
        assert!((0.3..0.7).contains(&right), "{prediction:?}: {right}");
        for side in [-1.0, 1.0] {
            let found = drawn(&model, prediction, Some(side));
            let there = found.iter().filter(|x| **x * side > 0.0).count() as f32;
            let share = there / found.len() as f32;
            assert!(share > 0.9, "{prediction:?}: {share} are on the side {side}");
        }
        let observed = step(3, |context| {
            context.collect_metrics = true;
            objective.loss(&model, None, &mixture(64, 9), context)
        });
        let observed = observed.unwrap();
        assert!(observed.diagnostics.iter().any(|(kind, value)| {
            *kind == Diagnostic::BaselineLoss && value.clone().into_scalar().elem::<f32>() > 0.5
        }));
    }
}
