//! A series model as a [`Forecaster`].

use crate::{
    SeriesHostBatch, SeriesModel,
    config::resolution_id,
    forecaster::{Forecast, ForecastError, Forecaster, History},
};
use kiln_core::Backend;
use ndarray::{Array2, Array3, Array4, Axis, s};
use std::{collections::BTreeMap, sync::Once};

/// Sequences a call of the model: more only take more memory.
const SEQUENCES: usize = 512;

/// A model on a device.
pub struct ModelForecaster<B: Backend> {
    model: SeriesModel<B>,
    device: B::Device,
    /// Whether it was said that covariates are left out.
    ignores_covariates: Once,
}

impl<B: Backend> ModelForecaster<B> {
    /// A forecaster of a finished model.
    pub fn new(model: SeriesModel<B>, device: B::Device) -> Self {
        Self { model, device, ignores_covariates: Once::new() }
    }

    /// Forecasts histories of the same number of channels.
    fn forecast_alike(
        &self,
        histories: &[&History],
        horizon: usize,
    ) -> Result<Vec<Forecast>, ForecastError> {
        let config = self.model.config();
        let (channels, known) = histories.first().map_or((0, 0), |h| (h.past.ncols(), h.known));
        let mut past = Array3::from_elem((histories.len(), config.context, channels), f32::NAN);
        let mut future = Array3::from_elem((histories.len(), config.horizon, channels), f32::NAN);
        for (place, history) in histories.iter().enumerate() {
            let rows = history.past.nrows().min(config.context);
            past.slice_mut(s![place, config.context - rows.., ..])
                .assign(&history.past.slice(s![history.past.nrows() - rows.., ..]));
            if let Some(given) = &history.future {
                let rows = given.nrows().min(config.horizon);
                future
                    .slice_mut(s![place, ..rows, channels - known..])
                    .assign(&given.slice(s![..rows, ..]));
            }
        }
        let resolutions = config.frontend.resolutions;
        let host = SeriesHostBatch {
            past,
            future: (known > 0).then_some(future),
            known,
            resolution: (resolutions > 0).then(|| {
                histories.iter().map(|h| resolution_id(h.frequency, resolutions)).collect()
            }),
            series: None,
            group: None,
        };
        let batch = host.upload::<B>(&self.device);
        let failed = |error: String| ForecastError::Model(error);
        let forecast = self.model.predict(&batch).map_err(|error| failed(error.to_string()))?;
        let shape = forecast.point.dims();
        let point = Array3::from_shape_vec(shape, forecast.point.into_data().iter().collect())
            .map_err(|error| failed(error.to_string()))?;
        let quantiles = match forecast.quantiles {
            Some(levels) => {
                let shape = levels.dims();
                let values = levels.into_data().iter().collect();
                Some(
                    Array4::<f32>::from_shape_vec(shape, values)
                        .map_err(|error| failed(error.to_string()))?,
                )
            }
            None => None,
        };
        Ok((0..histories.len())
            .map(|item| Forecast {
                point: point.slice(s![item, ..horizon, ..]).to_owned(),
                quantiles: quantiles
                    .as_ref()
                    .map(|q| q.slice(s![item, ..horizon, .., ..]).to_owned()),
            })
            .collect())
    }

    /// Splits histories into channels, for models that look at each alone.
    fn forecast_channels(
        &self,
        histories: &[History],
        horizon: usize,
    ) -> Result<Vec<Forecast>, ForecastError> {
        let mut single = Vec::new();
        for history in histories {
            let targets = history.past.ncols() - history.known;
            single.extend((0..targets).map(|channel| History {
                past: history.past.column(channel).insert_axis(Axis(1)).to_owned(),
                future: None,
                known: 0,
                frequency: history.frequency,
            }));
        }
        let mut made = Vec::with_capacity(single.len());
        for group in single.chunks(SEQUENCES) {
            made.extend(self.forecast_alike(&group.iter().collect::<Vec<_>>(), horizon)?);
        }
        let mut made = made.into_iter();
        let levels = self.quantile_levels().len();
        Ok(histories
            .iter()
            .map(|history| {
                let targets = history.past.ncols() - history.known;
                let mut point = Array2::zeros((horizon, targets));
                let mut quantiles = (levels > 0).then(|| Array3::zeros((horizon, targets, levels)));
                for (channel, forecast) in made.by_ref().take(targets).enumerate() {
                    point.column_mut(channel).assign(&forecast.point.column(0));
                    if let (Some(all), Some(one)) = (&mut quantiles, &forecast.quantiles) {
                        all.slice_mut(s![.., channel, ..]).assign(&one.slice(s![.., 0, ..]));
                    }
                }
                Forecast { point, quantiles }
            })
            .collect())
    }
}

impl<B: Backend> Forecaster for ModelForecaster<B> {
    fn context(&self) -> usize {
        self.model.config().context
    }

    fn horizon(&self) -> usize {
        self.model.config().rows()
    }

    fn quantile_levels(&self) -> &[f64] {
        self.model.config().quantiles()
    }

    fn channels(&self) -> Option<usize> {
        let config = self.model.config();
        config.channels.filter(|_| config.fixes_channels())
    }

    fn forecast(
        &self,
        histories: &[History],
        horizon: usize,
    ) -> Result<Vec<Forecast>, ForecastError> {
        if horizon > self.horizon() {
            return Err(ForecastError::Horizon { longest: self.horizon(), asked: horizon });
        }
        for (series, history) in histories.iter().enumerate() {
            let found = history.past.ncols();
            if let Some(expected) = self.channels().filter(|expected| *expected != found) {
                return Err(ForecastError::Channels { expected, found });
            }
            let silent = (0..found - history.known.min(found)).find(|channel| {
                history.past.column(*channel).iter().all(|value| !value.is_finite())
            });
            if let Some(channel) = silent {
                return Err(ForecastError::Empty { series, channel });
            }
        }
        if self.channels().is_none() {
            if histories.iter().any(|history| history.known > 0) {
                self.ignores_covariates.call_once(|| {
                    tracing::warn!(
                        "the model was trained without covariates and looks at each channel alone: \
                         what is known of the future is left out"
                    );
                });
            }
            return self.forecast_channels(histories, horizon);
        }
        // Batches need as many covariates in every history.
        let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, history) in histories.iter().enumerate() {
            alike.entry(history.known).or_default().push(place);
        }
        let mut made: Vec<Option<Forecast>> = vec![None; histories.len()];
        for places in alike.values() {
            let sequences = SEQUENCES / self.channels().unwrap_or(1).max(1);
            for group in places.chunks(sequences.max(1)) {
                let picked: Vec<_> =
                    group.iter().filter_map(|place| histories.get(*place)).collect();
                for (place, forecast) in group.iter().zip(self.forecast_alike(&picked, horizon)?) {
                    if let Some(slot) = made.get_mut(*place) {
                        *slot = Some(forecast);
                    }
                }
            }
        }
        Ok(made.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::Preset;
    use burn_flex::Flex;
    use kiln_datasets::Frequency;

    fn forecaster() -> ModelForecaster<Flex> {
        let device = Default::default();
        ModelForecaster::new(SeriesModel::new(Preset::Tiny.config(), &device).unwrap(), device)
    }

    fn history(rows: usize, channels: usize, known: usize) -> History {
        let past =
            Array2::from_shape_fn((rows, channels), |(row, channel)| (row * (channel + 1)) as f32);
        let future = (known > 0).then(|| Array2::zeros((8, known)));
        History { past, future, known, frequency: Frequency::DAILY }
    }

    #[test]
    fn channels_are_forecast_alone_and_any_length_will_do() {
        let forecaster = forecaster();
        let both = forecaster.forecast(&[history(40, 2, 0), history(5, 3, 1)], 6).unwrap();
        assert_eq!((both[0].point.dim(), both[1].point.dim()), ((6, 2), (6, 2)));
        let alone = forecaster.forecast(&[history(40, 1, 0)], 6).unwrap();
        let difference = &both[0].point.column(0) - &alone[0].point.column(0);
        assert!(difference.iter().all(|d| d.abs() < 1e-3), "{difference}");
    }

    #[test]
    fn what_cannot_be_forecast_is_said() {
        let forecaster = forecaster();
        let error = forecaster.forecast(&[history(40, 1, 0)], 9).unwrap_err();
        assert_eq!(error, ForecastError::Horizon { longest: 8, asked: 9 });
        let mut silent = history(4, 2, 0);
        silent.past.column_mut(1).fill(f32::NAN);
        let error = forecaster.forecast(&[history(4, 1, 0), silent], 2).unwrap_err();
        assert_eq!(error, ForecastError::Empty { series: 1, channel: 1 });
    }
}
