//! The series model as objectives see it, and its losses.

use crate::{
    batch::SeriesBatch,
    head::{
        channels::select,
        distribution::Distribution,
        label::{LabelConfig, LabelHead, moving_averages},
        loss::{Units, pinball},
    },
    model::{Encoded, ScaledForecast, SeriesModel},
};
use burn::tensor::{Bool, Int, Tensor};
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, Diagnostic, EmbedGroups, Encode,
    HiddenStates, Labelled, Loss, Model, PredictTokens, PretextTasks, StepContext, TaskLoss,
    TokenTargets, Tokens,
};
use kiln_nn::BackboneConfig;
use kiln_objectives::losses::{accuracy, cross_entropy, masked_mean};

impl<B: Backend> Model<B> for SeriesModel<B> {
    type Batch = SeriesBatch<B>;

    fn device(&self, batch: &SeriesBatch<B>) -> B::Device {
        batch.past.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, SeriesBatch<B>> {
        let config = self.config();
        let shows_blocks = matches!(config.backbone, BackboneConfig::Transformer(_));
        Capabilities {
            encode: Some(self),
            predict_tokens: self.token_head.as_ref().map(|_| self as _),
            hidden_states: shows_blocks.then_some(self as _),
            embed_groups: Some(self),
            labelled: self.forecast_head.as_ref().map(|_| self as _),
            pretext: (!config.labels.is_empty()).then_some(self as _),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, SeriesBatch<B>> for SeriesModel<B> {
    fn encode(
        &self,
        batch: &SeriesBatch<B>,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let causal = self.config().causal || attention.is_some_and(AttentionVisibility::is_causal);
        self.patch_tokens(self.encode_all(batch, corruption.mask.clone(), causal).tokens)
    }
}

impl<B: Backend> PredictTokens<B, SeriesBatch<B>> for SeriesModel<B> {
    /// Scaled patches, `[batch * channels, patches, patch]`.
    fn targets(&self, batch: &SeriesBatch<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Values {
            values: self.frontend.patches(self.scaled(batch).values),
            mask_missing: self.missing_patches(batch),
        }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.token_head {
            Some(head) => head.forward(hidden),
            None => hidden,
        }
    }
}

impl<B: Backend> HiddenStates<B, SeriesBatch<B>> for SeriesModel<B> {
    fn hidden_states(&self, batch: &SeriesBatch<B>) -> Vec<Tensor<B, 3>> {
        let tokens = self.embed(batch);
        let blocks = self.backbone.forward_each(tokens.clone(), self.config().causal);
        let patches = |values| self.patch_tokens(tokens.clone().with_values(values)).values;
        blocks.into_iter().map(patches).collect()
    }
}

impl<B: Backend> EmbedGroups<B, SeriesBatch<B>> for SeriesModel<B> {
    /// The mean over patches and channels.
    fn embeddings(&self, batch: &SeriesBatch<B>, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        vec![self.encode(batch, corruption, None).mean()]
    }
}

impl<B: Backend> Labelled<B, SeriesBatch<B>> for SeriesModel<B> {
    /// The forecast loss of the configuration; batches without a future count nothing.
    fn supervised(&self, batch: &SeriesBatch<B>, context: &mut StepContext<'_>) -> TaskLoss<B> {
        self.forecast_loss(batch, self.config().units, context.collect_metrics)
            .unwrap_or_else(|| TaskLoss::empty(&batch.past.device()))
    }
}

impl<B: Backend> PretextTasks<B, SeriesBatch<B>> for SeriesModel<B> {
    fn tasks(&self) -> Vec<&str> {
        self.config().labels.iter().map(LabelConfig::task).collect()
    }

    fn pretext(
        &self,
        task: &str,
        batch: &SeriesBatch<B>,
        context: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        let labels = self.config().labels.iter().zip(&self.label_heads);
        let (label, head) = labels.into_iter().find(|(label, _)| label.task() == task)?;
        let ids = match label {
            LabelConfig::Series(_) => Some(batch.series.clone()?),
            LabelConfig::Group(_) => Some(batch.group.clone()?),
            LabelConfig::MovingAverage(_) => None,
        };
        let Encoded { tokens, scaled, .. } = self.encode_plainly(batch);
        let loss = match (label, ids) {
            (LabelConfig::Series(classes) | LabelConfig::Group(classes), Some(ids)) => classify(
                head,
                self.represent_tokens(&tokens),
                ids,
                *classes,
                context.collect_metrics,
            ),
            (LabelConfig::MovingAverage(windows), _) => {
                let target = moving_averages(scaled.values, windows);
                average(head, self.pooled_of(&tokens), target, context.collect_metrics)
            }
            _ => return None,
        };
        Some(TaskLoss { loss, tokens: Some(self.patch_tokens(tokens)) })
    }
}

impl<B: Backend> SeriesModel<B> {
    /// The loss of the forecast head in the units given; `None` without that head or without a
    /// future. A likelihood is always the data's, and that of a row is the product over its
    /// channels.
    pub fn forecast_loss(
        &self,
        batch: &SeriesBatch<B>,
        units: Units,
        collect_metrics: bool,
    ) -> Option<TaskLoss<B>> {
        let future = batch.future.clone()?;
        let forecast = self.forecast_scaled(batch)?;
        let rows = self.config().rows();
        let future = select(future.narrow(1, 0, rows), &forecast.targets);
        let missing = batch.future_missing.clone().map(|missing| {
            select(missing.float().narrow(1, 0, rows), &forecast.targets).greater_elem(0.5)
        });
        let tokens = Some(forecast.tokens.clone());
        let loss = match self.config().loss.distribution() {
            Some(distribution) => likelihood(distribution, forecast, future, missing),
            None => self.point_loss(forecast, future, missing, units, collect_metrics)?,
        };
        Some(TaskLoss { loss, tokens })
    }

    fn point_loss(
        &self,
        forecast: ScaledForecast<B>,
        future: Tensor<B, 3>,
        missing: Option<Tensor<B, 3, Bool>>,
        units: Units,
        collect_metrics: bool,
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
        let mut guess = collect_metrics.then(|| {
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
            Some(guess) => result.with_diagnostic(Diagnostic::BaselineLoss, guess),
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
}

/// Which class a window is of, from `[batch, width]`; ids beyond the head's classes are not scored.
fn classify<B: Backend>(
    head: &LabelHead<B>,
    pooled: Tensor<B, 2>,
    ids: Tensor<B, 1, Int>,
    classes: usize,
    collect_metrics: bool,
) -> Loss<B> {
    let device = pooled.device();
    let logits = head.forward(pooled);
    let beyond = ids.clone().greater_equal_elem(classes as i64);
    let ids = ids.mask_fill(beyond.clone(), 0);
    let (value, count) = cross_entropy(logits.clone(), ids.clone(), Some(beyond.clone()));
    let loss = Loss::new(value, count);
    if !collect_metrics {
        return loss;
    }
    let chance = 1.0 / classes.max(1) as f32;
    loss.with_diagnostic(Diagnostic::BaselineLoss, Tensor::from_floats([-chance.ln()], &device))
        .with_diagnostic(Diagnostic::Accuracy, accuracy(logits.detach(), ids, Some(beyond)))
        .with_diagnostic(Diagnostic::ChanceAccuracy, Tensor::from_floats([chance], &device))
}

/// The means of the last rows in scaled units, `[batch * channels, windows]`, from
/// `[batch * channels, width]`.
fn average<B: Backend>(
    head: &LabelHead<B>,
    pooled: Tensor<B, 2>,
    target: Tensor<B, 2>,
    collect_metrics: bool,
) -> Loss<B> {
    let predicted = head.forward(pooled);
    let (value, count) = masked_mean((predicted - target.clone()).square(), None);
    let loss = Loss::new(value, count);
    if collect_metrics {
        loss.with_diagnostic(Diagnostic::BaselineLoss, target.square().mean())
    } else {
        loss
    }
}

/// The negative log likelihood of the future.
fn likelihood<B: Backend>(
    distribution: Distribution,
    forecast: ScaledForecast<B>,
    future: Tensor<B, 3>,
    missing: Option<Tensor<B, 3, Bool>>,
) -> Loss<B> {
    let ScaledForecast { output, loc, scale, targets, .. } = forecast;
    let parameters = distribution.domain(output.parameters, &scale);
    let each = distribution.log_likelihood(&parameters, &loc, &scale, future).neg();
    let (value, count) = masked_mean(each, missing);
    Loss::new(value.mul_scalar(targets.len() as f64), count)
}

#[cfg(test)]
mod tests;
