//! A forecaster for tests.

use crate::forecaster::{Forecast, ForecastError, Forecaster, History};
use ndarray::{Array2, Array3};

/// Repeats the last value that it sees, plus `off` and the covariates of the step; the first of its
/// quantiles is `lowest` above that, each further one by one more.
pub(crate) struct Last {
    pub context: usize,
    pub horizon: usize,
    pub off: f32,
    pub lowest: f32,
    pub levels: Vec<f64>,
}

impl Forecaster for Last {
    fn context(&self) -> usize {
        self.context
    }

    fn horizon(&self) -> usize {
        self.horizon
    }

    fn quantile_levels(&self) -> &[f64] {
        &self.levels
    }

    fn channels(&self) -> Option<usize> {
        None
    }

    fn forecast(
        &self,
        histories: &[History],
        horizon: usize,
    ) -> Result<Vec<Forecast>, ForecastError> {
        if horizon > self.horizon {
            return Err(ForecastError::Horizon { longest: self.horizon, asked: horizon });
        }
        let one = |history: &History| {
            assert!(history.past.nrows() <= self.context, "no more than the context");
            let targets = history.past.ncols() - history.known;
            let point = Array2::from_shape_fn((horizon, targets), |(step, channel)| {
                let future = history.future.as_ref().map_or(0.0, |future| future.row(step).sum());
                let column = history.past.column(channel);
                column.iter().rev().find(|value| value.is_finite()).unwrap() + future + self.off
            });
            let size = (horizon, targets, self.levels.len());
            let quantiles = Array3::from_shape_fn(size, |(step, channel, level)| {
                point[[step, channel]] + self.lowest + level as f32
            });
            Forecast { point, quantiles: (!self.levels.is_empty()).then_some(quantiles) }
        };
        Ok(histories.iter().map(one).collect())
    }
}
