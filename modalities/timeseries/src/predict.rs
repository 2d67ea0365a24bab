//! Forecasts of a series model: from its forecast head, or patch by patch from its token head.

use crate::{
    batch::{BatchError, SeriesBatch},
    head::{TokenHead, channels::select},
    model::{SeriesForecast, SeriesModel},
    scaler::Scaled,
};
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::Backend;

impl<B: Backend> SeriesModel<B> {
    /// Forecasts [`crate::SeriesModelConfig::rows`] rows after the end of each window, in units of
    /// the data. Of the batch's future, only covariates are read.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    pub fn predict(&self, batch: &SeriesBatch<B>) -> Result<SeriesForecast<B>, BatchError> {
        self.check(batch)?;
        if let Some(forecast) = self.forecast_scaled(batch) {
            let (loc, scale) = (forecast.loc, forecast.scale);
            let mut parameters = forecast.output.parameters;
            let point = match self.config().loss.distribution() {
                Some(distribution) => {
                    let parameters = distribution.domain(parameters, &scale);
                    distribution.centre(&parameters, &loc, &scale)
                }
                None => {
                    let point = parameters.pop().ok_or(BatchError::Unable("it has no head"))?;
                    point * scale.clone() + loc.clone()
                }
            };
            let quantiles = forecast.output.quantiles.map(|levels| {
                // Levels are trained one by one and may cross: a sorted forecast is never worse.
                let levels = levels.sort(3);
                levels * scale.clone().unsqueeze_dim(3) + loc.clone().unsqueeze_dim(3)
            });
            return Ok(SeriesForecast { point, quantiles, loc, scale });
        }
        match &self.token_head {
            Some(head) => self.predict_patches(head, batch),
            None => Err(BatchError::Unable("it has no head")),
        }
    }

    /// Patch after patch where tokens see only what came before; otherwise all at once, as hidden
    /// patches after the end.
    fn predict_patches(
        &self,
        head: &TokenHead<B>,
        batch: &SeriesBatch<B>,
    ) -> Result<SeriesForecast<B>, BatchError> {
        let config = self.config();
        let patch = config.frontend.patch;
        let rows = config.horizon;
        let scaled = self.scaled(batch);
        let ahead = rows.div_ceil(patch);
        let forecast = if config.causal {
            let mut values = scaled.values.clone();
            let mut made = Vec::with_capacity(ahead);
            for _ in 0..ahead {
                let next = self.next_patch(head, batch, &scaled, values.clone());
                values = shift(values, next.clone());
                made.push(next);
            }
            Tensor::cat(made, 1)
        } else {
            self.fill_in(head, batch, &scaled, ahead)?
        };
        let targets = self.targets_of(batch);
        let (loc, scale) = (select(scaled.loc, &targets), select(scaled.scale, &targets));
        let point = select(forecast.narrow(1, 0, rows), &targets);
        let point = point * scale.clone() + loc.clone();
        Ok(SeriesForecast { point, quantiles: None, loc, scale })
    }

    /// The patch after scaled `values` `[batch, context, channels]`: `[batch, patch, channels]`.
    fn next_patch(
        &self,
        head: &TokenHead<B>,
        batch: &SeriesBatch<B>,
        scaled: &Scaled<B>,
        values: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let scaled = Scaled { values, ..scaled.clone() };
        let encoded = self.encode_scaled(scaled, batch, None, true);
        let [_, tokens, _] = encoded.tokens.dims();
        let last = head.forward(encoded.tokens.values.narrow(1, tokens - 1, 1));
        self.to_rows(last, batch)
    }

    /// Moves the window ahead and has the model fill in the patches that then are unknown.
    fn fill_in(
        &self,
        head: &TokenHead<B>,
        batch: &SeriesBatch<B>,
        scaled: &Scaled<B>,
        ahead: usize,
    ) -> Result<Tensor<B, 3>, BatchError> {
        let config = self.config();
        let (patch, stride) = (config.frontend.patch, config.frontend.stride());
        let count = config.patches();
        let [items, _, channels] = batch.dims();
        let unknown = ahead * patch;
        if unknown >= config.context {
            return Err(BatchError::Unable("its horizon is longer than its context"));
        }
        if !patch.is_multiple_of(stride) {
            return Err(BatchError::Unable(
                "its patches overlap so that they cannot be laid side by side",
            ));
        }
        let blank = Tensor::zeros([items, unknown, channels], &batch.past.device());
        let moved = Scaled { values: shift(scaled.values.clone(), blank), ..scaled.clone() };
        // Patches that reach into the unknown rows.
        let known = config.context - unknown;
        let start = config.context - (patch + stride * (count - 1));
        let row: Vec<bool> =
            (0..count).map(|token| start + token * stride + patch > known).collect();
        let sequences = items * self.sequences(batch);
        let mask = Tensor::<B, 2, Bool>::from_data(
            TensorData::new(row.repeat(sequences), [sequences, count]),
            &batch.past.device(),
        );
        let encoded = self.encode_scaled(moved, batch, Some(mask), false);
        let decoded = head.forward(self.patch_tokens(encoded.tokens).values);
        // Every so many patches cover the unknown rows side by side, counted from the end.
        let parts = (1..=ahead)
            .rev()
            .map(|back| {
                let offset = (back - 1) * patch;
                decoded.clone().narrow(1, count - 1 - offset / stride, 1)
            })
            .collect::<Vec<_>>();
        let rows = parts.into_iter().map(|part| self.to_rows(part, batch)).collect();
        Ok(Tensor::cat(rows, 1))
    }

    /// A patch of each sequence to `[batch, patch, channels]`.
    fn to_rows(&self, patches: Tensor<B, 3>, batch: &SeriesBatch<B>) -> Tensor<B, 3> {
        let [items, _, channels] = batch.dims();
        let patch = self.config().frontend.patch;
        if self.config().frontend.joint {
            return patches.reshape([items, patch, channels]);
        }
        patches.reshape([items, channels, patch]).swap_dims(1, 2)
    }
}

/// Appends rows and drops as many at the beginning; `[batch, rows, channels]`.
fn shift<B: Backend>(values: Tensor<B, 3>, next: Tensor<B, 3>) -> Tensor<B, 3> {
    let (length, more) = (values.dims()[1], next.dims()[1]);
    Tensor::cat(vec![values.narrow(1, more, length - more), next], 1)
}

#[cfg(test)]
mod causal_tests {
    use crate::{SeriesModel, SeriesModelConfig, batch::SeriesHostBatch, head::TokenHeadConfig};
    use crate::{
        frontend::FrontendConfig,
        scaler::{ScalerConfig, ScalerKind},
    };
    use burn_flex::Flex;
    use kiln_core::PredictTokens;
    use ndarray::Array3;

    fn model() -> SeriesModel<Flex> {
        let config = SeriesModelConfig {
            context: 16,
            horizon: 4,
            width: 8,
            causal: true,
            scaler: ScalerConfig { kind: ScalerKind::Prefix(1), ..Default::default() },
            frontend: FrontendConfig { patch: 4, ..Default::default() },
            forecast: None,
            token: Some(TokenHeadConfig::default()),
            ..Default::default()
        };
        SeriesModel::new(config, &Default::default()).unwrap()
    }

    fn past(last: f32) -> SeriesHostBatch {
        let past =
            Array3::from_shape_fn(
                (1, 16, 1),
                |(_, row, _)| {
                    if row < 12 { ((row * 5) % 7) as f32 } else { last }
                },
            );
        SeriesHostBatch { past, ..Default::default() }
    }

    fn decoded(model: &SeriesModel<Flex>, batch: &SeriesHostBatch) -> Vec<f32> {
        let batch = batch.upload(&Default::default());
        let encoded = model.encode_all(&batch, None, true);
        PredictTokens::predict(model, 0, model.patch_tokens(encoded.tokens).values)
            .into_data()
            .to_vec()
            .unwrap()
    }

    #[test]
    fn what_comes_later_is_not_seen() {
        let model = model();
        let (a, b) = (decoded(&model, &past(1.0)), decoded(&model, &past(9.0)));
        assert_eq!(a[..12], b[..12]);
        assert_ne!(a[12..], b[12..]);
    }

    #[test]
    fn the_first_patch_of_a_roll_out_is_what_the_last_token_predicts() {
        let model = model();
        let host = past(3.0);
        let batch = host.upload(&Default::default());
        let forecast = model.predict(&batch).unwrap();
        let (loc, scale) = (forecast.loc.into_scalar(), forecast.scale.into_scalar());
        let point: Vec<f32> = forecast.point.into_data().to_vec().unwrap();
        for (point, scaled) in point.iter().zip(&decoded(&model, &host)[12..]) {
            assert!((point - (scaled * scale + loc)).abs() < 1e-4, "{point}");
        }
    }
}
