//! Denoising diffusion (<https://arxiv.org/abs/2006.11239>) and flow matching
//! (<https://arxiv.org/abs/2210.02747>): a network removes the noise that was added to its data.
//!
//! At time `t` in 0 to 1 the data `x` becomes `a x + s ε` with Gaussian noise `ε`. For noise and
//! velocity targets `a = cos(π t / 2)` and `s = sin(π t / 2)` (the cosine schedule,
//! <https://arxiv.org/abs/2102.09672>, without its offset); for flow targets `a = 1 - t` and `s = t`.

use crate::{
    ObjectiveError, ObjectiveSpec,
    spec::{DynModel, check},
};
use burn::tensor::{Bool, Distribution, Tensor, TensorData};
use kiln_core::{Backend, Diagnostic, HostBatch, Lack, Loss, Need, StepContext};
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of diffusion and flow matching.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Diffusion {
    /// What the network predicts.
    pub prediction: Prediction,
    /// The share of examples whose condition is dropped, for classifier-free guidance
    /// (<https://arxiv.org/abs/2207.12598>).
    pub drop_condition: f64,
}

/// What a denoiser predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise `ε`.
    #[default]
    Noise,
    /// The velocity `v = a ε - s x` (<https://arxiv.org/abs/2202.00512>).
    Velocity,
    /// The flow `ε - x` from data to noise along a straight line.
    Flow,
}

impl Prediction {
    /// How much of the data and of the noise there is at times `[batch]` in 0 to 1: `a` and `s`,
    /// `[batch]` each.
    pub fn schedule<B: Backend>(self, time: Tensor<B, 1>) -> (Tensor<B, 1>, Tensor<B, 1>) {
        match self {
            Self::Noise | Self::Velocity => {
                let angle = time.mul_scalar(std::f64::consts::FRAC_PI_2);
                (angle.clone().cos(), angle.sin())
            }
            Self::Flow => (time.clone().neg().add_scalar(1.0), time),
        }
    }

    /// The data that a prediction means, where there is not noise alone: `noisy` and `predicted` are
    /// `[batch, tokens, width]`, the times `[batch]`.
    pub fn clean<B: Backend>(
        self,
        noisy: Tensor<B, 3>,
        predicted: Tensor<B, 3>,
        time: Tensor<B, 1>,
    ) -> Tensor<B, 3> {
        let (data, noise) = self.schedule(time);
        let (data, noise) = (per_example(data), per_example(noise));
        match self {
            Self::Noise => (noisy - predicted * noise) / data,
            Self::Velocity => noisy * data - predicted * noise,
            Self::Flow => noisy - predicted * noise,
        }
    }
}

impl ObjectiveSpec for Diffusion {
    type Drawn = NoiseTimes;

    fn validate(&self) -> Result<(), ObjectiveError> {
        let fine = (0.0..=1.0).contains(&self.drop_condition);
        check(fine, "diffusion.drop_condition", self.drop_condition, "0 to 1")
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Denoiser]
    }

    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> NoiseTimes {
        let examples = batch.layout().batch;
        let times = (0..examples).map(|_| context.rng.random()).collect();
        let dropped = |_| context.rng.random::<f64>() < self.drop_condition;
        NoiseTimes { times, dropped: (0..examples).map(dropped).collect() }
    }

    /// The mean squared error of the prediction at times drawn uniformly, one an example.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let denoiser = model.capabilities().denoise()?;
        let device = model.device(batch);
        let clean = denoiser.clean(batch);
        let [examples, ..] = clean.dims();
        let NoiseTimes { times, dropped } = drawn;
        let time = Tensor::<B, 1>::from_data(TensorData::new(times, [examples]), &device);
        let dropped = TensorData::new(dropped, [examples]);
        let dropped = Tensor::<B, 1, Bool>::from_data(dropped, &device);
        let noise = Tensor::random(clean.shape(), Distribution::Normal(0.0, 1.0), &device);
        let (a, s) = self.prediction.schedule(time.clone());
        let (a, s) = (per_example(a), per_example(s));
        let noisy = clean.clone() * a.clone() + noise.clone() * s.clone();
        let target = match self.prediction {
            Prediction::Noise => noise,
            Prediction::Velocity => noise * a - clean * s,
            Prediction::Flow => noise - clean,
        };
        let predicted = denoiser.denoise(batch, noisy, time, dropped);
        let loss = Loss::new((predicted - target.clone()).square().mean(), examples);
        if !context.collect_metrics {
            return Ok(loss);
        }
        // A constant prediction has the variance of the target for its error.
        let centred = target.clone() - target.mean().unsqueeze_dim::<2>(0).unsqueeze_dim::<3>(0);
        Ok(loss.with_diagnostic(Diagnostic::BaselineLoss, centred.square().mean()))
    }
}

/// The noise level of each example, `[batch]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseTimes {
    /// Its time, from 0, data, to 1, noise.
    times: Vec<f32>,
    /// Whether its condition is dropped.
    dropped: Vec<bool>,
}

/// A number an example, `[batch]`, as `[batch, 1, 1]`.
fn per_example<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 3> {
    let [batch] = x.dims();
    x.reshape([batch, 1, 1])
}
