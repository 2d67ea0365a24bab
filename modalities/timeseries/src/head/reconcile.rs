//! Forecasts of all channels reconciled with each other and with covariates whose future is known:
//! the forecast channel mixing of Tiny Time Mixers, <https://arxiv.org/abs/2401.03955>.
//!
//! Every row of the horizon is seen with its neighbours in all channels; what that says is added to
//! the forecast.

use super::channels::{channel_list, select};
use crate::patch::patches;
use burn::{
    module::Module,
    tensor::{Tensor, activation::softmax},
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{BackboneShape, ConfigError, Linear, LinearConfig, Mixer, MixerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How forecasts are reconciled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileConfig {
    /// Channels whose future is known, rising. They are read and not forecast.
    pub covariates: Vec<usize>,
    /// Rows seen before and after each row.
    pub context: usize,
    /// Whether what is seen is weighed by a softmax gate.
    pub gated: bool,
    /// Mixes the channels of each row first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixer: Option<MixerConfig>,
    /// Whether the rows before the horizon are the last of the past; zeros otherwise.
    pub prepend_past: bool,
    /// Rows at the end of the past that are skipped for that.
    pub skip_past: usize,
    /// Whether past and covariates are taken in units of the data, as the published models do;
    /// otherwise they are scaled like everything else.
    pub raw_values: bool,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            covariates: Vec::new(),
            context: 2,
            gated: true,
            mixer: None,
            prepend_past: true,
            skip_past: 0,
            raw_values: false,
        }
    }
}

impl ReconcileConfig {
    /// Rows seen at once.
    fn window(&self) -> usize {
        2 * self.context + 1
    }

    /// The covariates, if there are any.
    pub fn covariates(&self) -> Option<&[usize]> {
        (!self.covariates.is_empty()).then_some(self.covariates.as_slice())
    }

    fn mixer_shape(&self, seen: usize, rows: usize) -> BackboneShape {
        // Rows stand for channels and channels for tokens.
        BackboneShape { width: 2 * self.window(), tokens: seen, channels: rows }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a setting is out of range or two contradict each other.
    pub fn validate(&self, channels: usize, targets: &[usize]) -> Result<(), ConfigError> {
        if !self.covariates.is_empty() {
            channel_list("covariates", &self.covariates, channels)?;
        }
        if let Some(both) = self.covariates.iter().find(|channel| targets.contains(channel)) {
            return Err(ConfigError::new("covariates", both, "channels that are not forecast"));
        }
        if self.context == 0 && self.mixer.is_some() {
            return Err(ConfigError::new("context", 0, "at least 1 with a mixer"));
        }
        if let Some(mixer) = &self.mixer {
            let shape = self.mixer_shape(targets.len() + self.covariates.len(), 1);
            mixer.validate(shape).map_err(|error| error.within("mixer"))?;
        }
        Ok(())
    }

    /// A reconciler with random weights.
    pub fn init<B: Backend>(
        &self,
        rows: usize,
        targets: usize,
        device: &B::Device,
    ) -> Reconciler<B> {
        let seen = targets + self.covariates.len();
        let features = if self.mixer.is_some() { 2 * self.window() } else { self.window() };
        let flat = seen * features;
        Reconciler {
            window_embedding: self
                .mixer
                .is_some()
                .then(|| LinearConfig::new(self.window(), features).init(device)),
            mixer: self
                .mixer
                .as_ref()
                .map(|mixer| mixer.init(self.mixer_shape(seen, rows), device)),
            window_gate: self.gated.then(|| LinearConfig::new(flat, flat).init(device)),
            output: LinearConfig::new(flat, targets).init(device),
            context: self.context,
            prepend_past: self.prepend_past,
            skip_past: self.skip_past,
        }
    }
}

/// Reconciles forecasts.
#[derive(Module, Debug)]
pub struct Reconciler<B: Backend> {
    /// Before the mixer.
    pub window_embedding: Option<Linear<B>>,
    /// Over the channels of each row.
    pub mixer: Option<Mixer<B>>,
    /// Weighs what is seen.
    pub window_gate: Option<Linear<B>>,
    /// To a correction of each target.
    pub output: Linear<B>,
    context: usize,
    prepend_past: bool,
    skip_past: usize,
}

impl<B: Backend> Reconciler<B> {
    /// A corrected forecast, `[batch, rows, targets]` like `forecast`.
    ///
    /// `past` `[batch, context, channels]` and `future` `[batch, rows, channels]` are scaled or not
    /// as the config says; of the latter only covariates are read.
    pub fn forward(
        &self,
        forecast: Tensor<B, 3>,
        past: Tensor<B, 3>,
        future: Option<Tensor<B, 3>>,
        targets: &[usize],
        covariates: &[usize],
    ) -> Tensor<B, 3> {
        let [batch, rows, _] = forecast.dims();
        let device = forecast.device();
        let mut known = forecast.clone();
        let mut seen = targets.to_vec();
        if !covariates.is_empty() {
            let covered = match future {
                Some(future) => select(future.narrow(1, 0, rows), covariates),
                None => Tensor::zeros([batch, rows, covariates.len()], &device),
            };
            known = Tensor::cat(vec![known, covered], 2);
            seen.extend(covariates);
        }
        if self.context > 0 {
            let blank = Tensor::zeros([batch, self.context, seen.len()], &device);
            let before = if self.prepend_past {
                let start = past.dims()[1].saturating_sub(self.context + self.skip_past);
                select(past.narrow(1, start, self.context), &seen)
            } else {
                blank.clone()
            };
            known = Tensor::cat(vec![before, known, blank], 1);
        }
        // Windows of all channels, row by row: [batch * rows, seen, window].
        let window = 2 * self.context + 1;
        let mut x = patches(known, window, 1)
            .reshape([batch, seen.len(), rows, window])
            .swap_dims(1, 2)
            .reshape([batch * rows, seen.len(), window]);
        if let Some(embedding) = &self.window_embedding {
            x = embedding.forward(x);
        }
        if let Some(mixer) = &self.mixer {
            x = mixer.forward(Tokens { values: x, mask_pad: None, channels: rows }).values;
        }
        let [_, count, features] = x.dims();
        let mut x = x.reshape([batch, rows, count * features]);
        if let Some(gate) = &self.window_gate {
            x = x.clone() * softmax(gate.forward(x), 2);
        }
        forecast + self.output.forward(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn_flex::Flex;

    #[test]
    fn neighbours_and_covariates_by_hand() {
        let device = Default::default();
        let config =
            ReconcileConfig { covariates: vec![1], context: 1, gated: false, ..Default::default() };
        config.validate(2, &[0]).unwrap();
        let mut reconciler = config.init::<Flex>(2, 1, &device);
        // The row before of the target, and the covariate's own row.
        reconciler.output.weight =
            Param::from_data([[1.0], [0.0], [0.0], [0.0], [10.0], [0.0]], &device);
        reconciler.output.bias = Some(Param::from_data([0.0], &device));
        let forecast = Tensor::from_floats([[[1.0], [2.0]]], &device);
        let past = Tensor::from_floats([[[5.0, 0.0], [7.0, 0.0]]], &device);
        let future = Tensor::from_floats([[[0.0, 0.1], [0.0, 0.2]]], &device);
        let out = reconciler.forward(forecast, past, Some(future), &[0], &[1]);
        // 1 + 7 + 1 and 2 + 1 + 2.
        assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [9.0, 5.0]);
    }

    #[test]
    fn covariates_are_not_forecast() {
        let config = ReconcileConfig { covariates: vec![1], ..Default::default() };
        assert_eq!(config.validate(2, &[0, 1]).unwrap_err().key, "covariates");
    }
}
