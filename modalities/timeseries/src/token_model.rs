//! The series model as objectives see it, and its losses.

use crate::{
    batch::SeriesBatch,
    head::{
        distribution::Distribution,
        label::{LabelConfig, LabelHead, moving_averages},
        loss::{Units, pinball},
        select,
    },
    model::{ScaledForecast, SeriesModel},
};
use burn::tensor::{Bool, Int, Tensor};
use kiln_core::{Backend, Layout, Loss, Sign, StepContext, Targets, TokenModel, Tokens, View};
use kiln_objectives::losses::{accuracy, cross_entropy, masked_mean};

impl<B: Backend> TokenModel<B> for SeriesModel<B> {
    type Batch = SeriesBatch<B>;

    fn layout(&self, batch: &SeriesBatch<B>) -> Layout {
        let ([items, _, _], channels) = (batch.dims(), self.sequences(batch));
        Layout { channels, ..Layout::new(items * channels, self.config().patches()) }
    }

    fn device(&self, batch: &SeriesBatch<B>) -> B::Device {
        batch.past.device()
    }

    fn encode(&self, batch: &SeriesBatch<B>, view: View<B>) -> Tokens<B> {
        let view = View { causal: view.causal || self.config().causal, ..view };
        self.patch_tokens(self.encode_all(batch, view).tokens)
    }

    /// Scaled patches; `[batch * channels, patches, patch]`.
    fn targets(&self, batch: &SeriesBatch<B>) -> Targets<B> {
        Targets::Values {
            values: self.frontend.patches(self.scaled(batch).values),
            mask_missing: self.missing_patches(batch),
        }
    }

    /// Without a token head, what comes in goes out.
    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.token_head {
            Some(head) => head.forward(values),
            None => values,
        }
    }

    fn encode_each(&self, batch: &SeriesBatch<B>) -> Vec<Tensor<B, 3>> {
        let tokens = self.embed(batch);
        let blocks = self.backbone.forward_each(tokens.clone(), self.config().causal);
        let patches = |values| self.patch_tokens(tokens.clone().with_values(values)).values;
        blocks.into_iter().map(patches).collect()
    }

    /// The forecast loss of the configuration. Models without a forecast head, and batches without
    /// a future, count nothing.
    fn supervised(&self, batch: &SeriesBatch<B>, context: &mut StepContext<'_>) -> Loss<B> {
        self.forecast_loss(batch, self.config().units, context.observe)
            .unwrap_or_else(|| nothing(batch))
    }

    fn pretext(
        &self,
        task: &str,
        batch: &SeriesBatch<B>,
        context: &mut StepContext<'_>,
    ) -> Option<Loss<B>> {
        let labels = self.config().labels.iter().zip(&self.label_heads);
        let (label, head) = labels.into_iter().find(|(label, _)| label.task() == task)?;
        match label {
            LabelConfig::Series(classes) => {
                Some(self.classify(head, batch, batch.series.clone()?, *classes, context.observe))
            }
            LabelConfig::Group(classes) => {
                Some(self.classify(head, batch, batch.group.clone()?, *classes, context.observe))
            }
            LabelConfig::MovingAverage(windows) => {
                Some(self.average(head, batch, windows, context.observe))
            }
        }
    }
}

/// A loss over nothing.
fn nothing<B: Backend>(batch: &SeriesBatch<B>) -> Loss<B> {
    Loss::nothing(&batch.past.device())
}

impl<B: Backend> SeriesModel<B> {
    /// The loss of the forecast head in the units given; `None` without that head or without a
    /// future. A likelihood is always the data's, and that of a row is the product over its
    /// channels.
    pub fn forecast_loss(
        &self,
        batch: &SeriesBatch<B>,
        units: Units,
        observe: bool,
    ) -> Option<Loss<B>> {
        let future = batch.future.clone()?;
        let forecast = self.forecast_scaled(batch)?;
        let rows = self.config().rows();
        let future = select(future.narrow(1, 0, rows), &forecast.targets);
        let missing = batch.future_missing.clone().map(|missing| {
            select(missing.float().narrow(1, 0, rows), &forecast.targets).greater_elem(0.5)
        });
        match self.config().loss.distribution() {
            Some(distribution) => Some(likelihood(distribution, forecast, future, missing)),
            None => self.point_loss(forecast, future, missing, units, observe),
        }
    }

    fn point_loss(
        &self,
        forecast: ScaledForecast<B>,
        future: Tensor<B, 3>,
        missing: Option<Tensor<B, 3, Bool>>,
        units: Units,
        observe: bool,
    ) -> Option<Loss<B>> {
        let ScaledForecast { mut output, loc, scale, .. } = forecast;
        let unscale = |x: Tensor<B, 3>| match units {
            Units::Scaled => x,
            Units::Data => x * scale.clone() + loc.clone(),
        };
        let target = match units {
            Units::Scaled => (future - loc.clone()) / scale.clone(),
            Units::Data => future,
        };
        let loss = self.config().loss;
        let point = unscale(output.parameters.pop()?);
        let error = loss.of_error(target.clone() - point);
        let (mut value, count) = masked_mean(error, missing.clone());
        // Guessing says the mean of the past, at every level.
        let mut guess = observe.then(|| {
            let guess = unscale(target.zeros_like());
            masked_mean(loss.of_error(target.clone() - guess), missing.clone()).0
        });
        if let Some(levels) = output.quantiles {
            guess = guess.map(|guess| {
                let zeros = levels.zeros_like();
                guess + self.quantile_loss(zeros, target.clone(), missing.clone(), unscale)
            });
            value = value + self.quantile_loss(levels, target, missing, unscale);
        }
        let result = Loss::new(value, count);
        Some(match guess {
            Some(guess) => result.with_sign(Sign::GuessLoss, guess),
            None => result,
        })
    }

    /// The mean pinball loss over all levels; `levels` is `[batch, rows, targets, levels]`.
    fn quantile_loss(
        &self,
        levels: Tensor<B, 4>,
        target: Tensor<B, 3>,
        missing: Option<Tensor<B, 3, Bool>>,
        unscale: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Tensor<B, 1> {
        let asked = self.config().quantiles();
        let mut total = Tensor::zeros([1], &target.device());
        for (at, level) in asked.iter().enumerate() {
            let forecast = unscale(levels.clone().narrow(3, at, 1).squeeze_dim(3));
            let error = pinball(target.clone() - forecast, *level);
            total = total + masked_mean(error, missing.clone()).0;
        }
        total.div_scalar(asked.len().max(1) as f64)
    }

    /// Which class a window is of; ids beyond the head's classes are not scored.
    fn classify(
        &self,
        head: &LabelHead<B>,
        batch: &SeriesBatch<B>,
        ids: Tensor<B, 1, Int>,
        classes: usize,
        observe: bool,
    ) -> Loss<B> {
        let logits = head.forward(self.represent(batch));
        let beyond = ids.clone().greater_equal_elem(classes as i64);
        let ids = ids.mask_fill(beyond.clone(), 0);
        let (value, count) = cross_entropy(logits.clone(), ids.clone(), Some(beyond.clone()));
        let loss = Loss::new(value, count);
        if !observe {
            return loss;
        }
        let device = batch.past.device();
        let chance = 1.0 / classes.max(1) as f32;
        loss.with_sign(Sign::GuessLoss, Tensor::from_floats([-chance.ln()], &device))
            .with_sign(Sign::Accuracy, accuracy(logits.detach(), ids, Some(beyond)))
            .with_sign(Sign::ChanceAccuracy, Tensor::from_floats([chance], &device))
    }

    /// The means of the last rows, in scaled units.
    fn average(
        &self,
        head: &LabelHead<B>,
        batch: &SeriesBatch<B>,
        windows: &[usize],
        observe: bool,
    ) -> Loss<B> {
        let target = moving_averages(self.scaled(batch).values, windows);
        let predicted = head.forward(self.pooled(batch));
        let (value, count) = masked_mean((predicted - target.clone()).square(), None);
        let loss = Loss::new(value, count);
        if observe { loss.with_sign(Sign::GuessLoss, target.square().mean()) } else { loss }
    }
}

/// The negative log likelihood of the future.
fn likelihood<B: Backend>(
    distribution: Distribution,
    forecast: ScaledForecast<B>,
    future: Tensor<B, 3>,
    missing: Option<Tensor<B, 3, Bool>>,
) -> Loss<B> {
    let ScaledForecast { output, loc, scale, targets } = forecast;
    let parameters = distribution.domain(output.parameters, &scale);
    let each = distribution.log_likelihood(&parameters, &loc, &scale, future).neg();
    let (value, count) = masked_mean(each, missing);
    Loss::new(value.mul_scalar(targets.len() as f64), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SeriesModelConfig,
        head::{ForecastConfig, TokenHeadConfig, loss::PointLoss},
        presets::Preset,
    };
    use burn::{backend::Autodiff, tensor::Distribution as Random};
    use burn_flex::Flex;
    use kiln_core::Seed;
    use kiln_nn::{BackboneConfig, TransformerConfig};

    type A = Autodiff<Flex>;

    fn batch<B: Backend>() -> SeriesBatch<B> {
        let device = Default::default();
        let random = |rows| Tensor::random([2, rows, 3], Random::Normal(5.0, 2.0), &device);
        SeriesBatch {
            future: Some(random(8)),
            series: Some(Tensor::from_ints([1, 9], &device)),
            ..SeriesBatch::new(random(32))
        }
    }

    fn with_rng<T>(observe: bool, run: impl FnOnce(&mut StepContext<'_>) -> T) -> T {
        run(&mut StepContext { rng: &mut Seed::new(1).rng(), observe, step: 0 })
    }

    #[test]
    fn a_forecast_learns_with_every_loss() {
        for loss in [
            PointLoss::Mse,
            PointLoss::Mae,
            PointLoss::Huber { delta: 1.0 },
            PointLoss::Quantile { level: 0.3 },
            PointLoss::Nll { distribution: Distribution::StudentT },
        ] {
            let config = SeriesModelConfig {
                loss,
                forecast: Some(ForecastConfig { quantiles: vec![0.1, 0.9], ..Default::default() }),
                ..Preset::Tiny.config()
            };
            let model = SeriesModel::<A>::new(config, &Default::default()).unwrap();
            let batch = batch();
            let loss = with_rng(true, |context| model.supervised(&batch, context));
            assert_eq!(loss.count, 2 * 8 * 3);
            let gradients = loss.value.backward();
            let weight = match &model.frontend.embedding {
                crate::frontend::ChannelLinear::Shared(linear) => linear.weight.val(),
                crate::frontend::ChannelLinear::Each(_) => panic!("shared"),
            };
            let gradient: f32 = weight.grad(&gradients).unwrap().abs().sum().into_scalar();
            assert!(gradient > 0.0 && gradient.is_finite());
            let forecast = model.predict(&batch).unwrap();
            assert_eq!(forecast.point.dims(), [2, 8, 3]);
            assert_eq!(forecast.quantiles.unwrap().dims(), [2, 8, 3, 2]);
        }
    }

    #[test]
    fn missing_futures_are_not_scored() {
        let model = SeriesModel::<Flex>::new(Preset::Tiny.config(), &Default::default()).unwrap();
        let mut batch = batch();
        let complete = with_rng(false, |context| model.supervised(&batch, context));
        // Spoil one value and say so.
        batch.future = batch.future.map(|future| future.slice_fill([0..1, 0..1, 0..1], 1e9));
        let missing = Tensor::<Flex, 3>::zeros([2, 8, 3], &Default::default());
        batch.future_missing = Some(missing.slice_fill([0..1, 0..1, 0..1], 1.0).greater_elem(0.5));
        let masked = with_rng(false, |context| model.supervised(&batch, context));
        assert_eq!((complete.count, masked.count), (48, 47));
        assert!(masked.value.into_scalar() < 100.0);
    }

    #[test]
    fn labels_beyond_the_classes_are_not_scored() {
        let labels = vec![LabelConfig::Series(5), LabelConfig::MovingAverage(vec![2, 4])];
        let config = SeriesModelConfig { labels, ..Preset::Tiny.config() };
        let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
        let batch = batch();
        let loss = with_rng(true, |context| model.pretext("series", &batch, context)).unwrap();
        assert_eq!(loss.count, 1);
        let average = with_rng(true, |context| model.pretext("moving-average", &batch, context));
        assert_eq!(average.unwrap().count, 2 * 3 * 2);
        assert!(with_rng(false, |context| model.pretext("group", &batch, context)).is_none());
    }

    #[test]
    fn token_heads_forecast_too() {
        for causal in [false, true] {
            let transformer = TransformerConfig { layers: 1, heads: 2, ..Default::default() };
            let config = SeriesModelConfig {
                causal,
                forecast: None,
                token: Some(TokenHeadConfig::default()),
                horizon: 11,
                backbone: BackboneConfig::Transformer(transformer),
                ..Preset::Tiny.config()
            };
            let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
            let batch = batch();
            assert_eq!(model.predict(&batch).unwrap().point.dims(), [2, 11, 3]);
            let layout = model.layout(&batch);
            assert_eq!(layout, Layout { channels: 3, ..Layout::new(6, 4) });
            let Targets::Values { values, .. } = model.targets(&batch) else { panic!("values") };
            let encoded = model.encode(&batch, View { causal, ..View::default() });
            assert_eq!(model.decode(encoded.values).dims(), values.dims());
        }
    }

    /// Multivariate patching: a token holds a patch of each channel, row after row.
    #[test]
    fn tokens_of_all_channels() {
        for (causal, forecast) in [(false, true), (false, false), (true, false)] {
            let transformer = TransformerConfig { layers: 1, heads: 2, ..Default::default() };
            let mut config = SeriesModelConfig {
                causal,
                channels: Some(3),
                token: Some(TokenHeadConfig::default()),
                horizon: 11,
                backbone: BackboneConfig::Transformer(transformer),
                ..Preset::Tiny.config()
            };
            config.frontend.joint = true;
            let quantiles = vec![0.1, 0.9];
            config.forecast = forecast.then(|| ForecastConfig { quantiles, ..Default::default() });
            let patch = config.frontend.patch;
            let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
            let batch = batch();
            assert_eq!(model.layout(&batch), Layout { channels: 1, ..Layout::new(2, 4) });
            let Targets::Values { values, .. } = model.targets(&batch) else { panic!("values") };
            assert_eq!(values.dims(), [2, 4, 3 * patch]);
            let encoded = model.encode(&batch, View { causal, ..View::default() });
            assert_eq!(model.decode(encoded.values).dims(), values.dims());
            let found = model.predict(&batch).unwrap();
            assert_eq!(found.point.dims(), [2, 11, 3]);
            assert_eq!(found.quantiles.is_some(), forecast);
            assert_eq!(model.represent(&batch).dims(), [2, model.config().width]);
            // What a channel does changes the forecast of another.
            let past = batch.past.clone();
            let last = past.clone().narrow(2, 2, 1).flip([1]);
            let other = SeriesBatch::new(Tensor::cat(vec![past.narrow(2, 0, 2), last], 2));
            let first = |found: Tensor<Flex, 3>| found.narrow(2, 0, 1).into_data();
            assert_ne!(first(found.point), first(model.predict(&other).unwrap().point));
        }
        let alone = SeriesModelConfig { channels: None, ..Preset::Tiny.config() };
        let frontend = crate::frontend::FrontendConfig { joint: true, ..alone.frontend.clone() };
        let alone = SeriesModelConfig { frontend, ..alone };
        assert_eq!(alone.validate().unwrap_err().key, "channels");
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused() {
        let model = SeriesModel::<Flex>::new(Preset::Tiny.config(), &Default::default()).unwrap();
        let short = SeriesBatch::new(Tensor::zeros([1, 9, 1], &Default::default()));
        let message = model.predict(&short).unwrap_err().to_string();
        assert_eq!(message, "the batch has 9 rows of history, the model expects 32");
    }
}
