//! Forecasts of a user's own series: the library behind `kiln forecast`.
//!
//! Intervals come from the model's quantiles. A point model gets split-conformal ones, see
//! [`conformal`]: how far it was off in a short backtest on the history itself.

mod check;
pub mod conformal;
pub mod intervals;
pub mod output;

use crate::{
    forecaster::{Forecast, ForecastError, Forecaster, History},
    plot::ForecastPlot,
};
use chrono::NaiveDateTime;
use intervals::interval;
use kiln_core::blame::{Blame, Blamed};
use kiln_datasets::{Frequency, Series};
use ndarray::{Array2, Axis, concatenate, s};

/// What is to be forecast, and with what.
pub struct ForecastRequest {
    /// The model.
    pub model: Box<dyn Forecaster>,
    /// As `kiln_datasets::table` reads them.
    pub series: Vec<Series>,
    /// Rows.
    pub horizon: usize,
    /// The share of future values that intervals should hold, such as 0.8.
    pub level: f64,
}

/// The forecast of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastTable {
    /// The series' id.
    pub id: String,
    /// `[horizon]`, the time of each row; `None` where rows are numbered.
    pub times: Option<Vec<NaiveDateTime>>,
    /// The number of the first row, counting the history's from 0.
    pub first_row: usize,
    /// The share of future values that intervals should hold.
    pub level: f64,
    /// A column a target.
    pub targets: Vec<TargetForecast>,
    /// The distance between rows.
    pub frequency: Frequency,
    /// The time of the history's first row.
    pub start: Option<NaiveDateTime>,
}

/// The forecast of one target, in the units of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetForecast {
    /// The target's name.
    pub name: String,
    /// `[time]`, NaN where missing.
    pub history: Vec<f32>,
    /// `[horizon]`
    pub point: Vec<f32>,
    /// `[horizon]` each, lower and upper; `None` when the model gives no quantiles and the history
    /// is too short for a backtest.
    pub interval: Option<(Vec<f32>, Vec<f32>)>,
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The model refused or failed.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// Nothing to forecast.
    #[error("there is no series to forecast")]
    NoSeries,
    /// No row was asked for.
    #[error("the horizon is {0} rows, it must be at least 1")]
    Horizon(usize),
    /// The level is no share.
    #[error("the interval's level is {0}, it must be between 0 and 1, such as 0.8 for 80 %")]
    Level(f64),
    /// A target without a single value.
    #[error("target `{column}` of series `{series}` has no value at all")]
    AllMissing {
        /// The series.
        series: String,
        /// The column.
        column: String,
    },
    /// A covariate whose future ends too early or has gaps.
    #[error(
        "covariate `{column}` of series `{series}` must be known for all {horizon} rows of the \
         forecast, {missing} of them are missing: add rows with its future values (and empty \
         targets), or forecast fewer rows"
    )]
    KnownTooShort {
        /// The series.
        series: String,
        /// The column.
        column: String,
        /// Rows asked for.
        horizon: usize,
        /// Rows without a value.
        missing: usize,
    },
}

impl Blamed for RequestError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Forecast(error) => Blame::Inner(error),
            _ => Blame::User,
        }
    }
}

impl ForecastRequest {
    /// Forecasts every series.
    ///
    /// # Errors
    /// When the horizon is longer than the model allows, a target is empty, a covariate's future
    /// is not known, or the model fails. All series are checked before any is forecast.
    pub fn run(&self) -> Result<Vec<ForecastTable>, RequestError> {
        self.check()?;
        let histories: Vec<_> =
            self.series.iter().map(|series| self.history(series, series.len())).collect();
        let forecasts = self.model.forecast(&histories, self.horizon)?;
        if forecasts.len() != self.series.len() {
            let fault = format!("{} forecasts for {} series", forecasts.len(), self.series.len());
            return Err(ForecastError::Model(fault).into());
        }
        self.series
            .iter()
            .zip(forecasts)
            .map(|(series, forecast)| self.table(series, &forecast))
            .collect()
    }

    fn check(&self) -> Result<(), RequestError> {
        let longest = self.model.horizon();
        if self.horizon == 0 {
            return Err(RequestError::Horizon(0));
        }
        if self.horizon > longest {
            return Err(ForecastError::Horizon { longest, asked: self.horizon }.into());
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(RequestError::Level(self.level));
        }
        if self.series.is_empty() {
            return Err(RequestError::NoSeries);
        }
        self.series.iter().try_for_each(|series| self.check_series(series))
    }

    fn check_series(&self, series: &Series) -> Result<(), RequestError> {
        let name = |channel: usize| series.channels.get(channel).cloned().unwrap_or_default();
        if let Some(expected) = self.model.channels()
            && expected != series.values.ncols()
        {
            return Err(ForecastError::Channels { expected, found: series.values.ncols() }.into());
        }
        for channel in 0..series.targets() {
            if !series.values.column(channel).iter().any(|value| value.is_finite()) {
                return Err(RequestError::AllMissing {
                    series: series.id.clone(),
                    column: name(channel),
                });
            }
        }
        for known in 0..series.known {
            let present = series.future.as_ref().map_or(0, |future| {
                let rows = (0..self.horizon).filter_map(|row| future.get((row, known)));
                rows.filter(|value| value.is_finite()).count()
            });
            if present < self.horizon {
                return Err(RequestError::KnownTooShort {
                    series: series.id.clone(),
                    column: name(series.targets() + known),
                    horizon: self.horizon,
                    missing: self.horizon - present,
                });
            }
        }
        Ok(())
    }

    /// What the model is told when the first `end` rows are the past.
    fn history(&self, series: &Series, end: usize) -> History {
        let from = end.saturating_sub(self.model.context());
        let known = series.known;
        let covariates = series.values.slice(s![end.., series.targets()..]);
        let future = series.future.as_ref().map(|future| future.view());
        // Both have `known` columns; without a future the rows of the series are all there is.
        let future = future
            .and_then(|future| concatenate(Axis(0), &[covariates, future]).ok())
            .unwrap_or_else(|| covariates.to_owned());
        let at = |at| future.get(at).copied().unwrap_or(f32::NAN);
        History {
            past: series.values.slice(s![from..end, ..]).to_owned(),
            future: (known > 0).then(|| Array2::from_shape_fn((self.horizon, known), at)),
            known,
            frequency: series.frequency,
        }
    }

    fn table(&self, series: &Series, forecast: &Forecast) -> Result<ForecastTable, RequestError> {
        let (horizon, targets) = (self.horizon, series.targets());
        forecast.check(horizon, targets, self.model.quantile_levels().len())?;
        let intervals = match &forecast.quantiles {
            Some(quantiles) => {
                let levels = self.model.quantile_levels();
                let ends = |channel: usize| {
                    (0..horizon)
                        .map(|step| {
                            interval(
                                levels,
                                &quantiles.slice(s![step, channel, ..]).to_vec(),
                                self.level,
                            )
                        })
                        .collect::<Option<Vec<_>>>()
                };
                (0..targets)
                    .map(|channel| ends(channel).map(|ends| ends.into_iter().unzip()))
                    .collect()
            }
            None => self.conformal(series, forecast)?,
        };
        let column = |channel: usize| TargetForecast {
            name: series.channels.get(channel).cloned().unwrap_or_default(),
            history: series.values.column(channel).to_vec(),
            point: forecast.point.column(channel).to_vec(),
            interval: intervals.get(channel).cloned().flatten(),
        };
        let rows = series.len() as u64;
        let time = |step: u64| series.frequency.after(series.start?, rows + step);
        Ok(ForecastTable {
            id: series.id.clone(),
            times: (0..horizon as u64).map(time).collect(),
            first_row: series.len(),
            level: self.level,
            targets: (0..targets).map(column).collect(),
            frequency: series.frequency,
            start: series.start,
        })
    }

    /// Intervals of a point model, a target.
    fn conformal(&self, series: &Series, forecast: &Forecast) -> Result<Vec<Ends>, RequestError> {
        let origins = conformal::origins(series, self.horizon, self.model.context());
        let histories: Vec<_> =
            origins.iter().map(|origin| self.history(series, *origin)).collect();
        let past = if histories.is_empty() {
            Vec::new()
        } else {
            self.model.forecast(&histories, self.horizon)?
        };
        let ends = |channel: usize| {
            let truth = series.values.column(channel);
            let errors = conformal::errors(&origins, &past, truth, channel, self.horizon);
            let widths = conformal::half_widths(&errors, self.level)?;
            let point = forecast.point.column(channel);
            let end =
                |sign: f32| point.iter().zip(&widths).map(|(p, width)| p + sign * width).collect();
            Some((end(-1.0), end(1.0)))
        };
        Ok((0..series.targets()).map(ends).collect())
    }
}

/// Lower and upper ends, `[horizon]` each.
type Ends = Option<(Vec<f32>, Vec<f32>)>;

impl ForecastTable {
    /// A picture of one target: as much history as three horizons, at least 60 rows.
    pub fn plot(&self, target: &TargetForecast) -> ForecastPlot {
        let rows = (3 * target.point.len()).max(60);
        let first = target.history.len().saturating_sub(rows);
        let label = format!("{:.0} % interval", 100.0 * self.level);
        ForecastPlot {
            title: if target.name == self.id {
                self.id.clone()
            } else {
                format!("{} · {}", self.id, target.name)
            },
            history: target.history.get(first..).unwrap_or_default().to_vec(),
            start: self.start.and_then(|start| self.frequency.after(start, first as u64)),
            first_row: first,
            frequency: self.frequency,
            forecast: target.point.clone(),
            band: target.interval.clone().map(|(lower, upper)| (lower, upper, label)),
            ..ForecastPlot::default()
        }
    }
}

#[cfg(test)]
mod tests;
