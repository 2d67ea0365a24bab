//! A forecaster with its backend and architecture hidden.

use kiln_core::blame::{Blame, Blamed};
use ndarray::{Array2, Array3};

/// What is known when a forecast is made.
#[derive(Clone, Debug)]
pub struct History {
    /// `[time, channels]`, any length; NaN where a value is missing. The last `known` channels are
    /// covariates.
    pub past: Array2<f32>,
    /// `[horizon, known]`, the future of the covariates; `None` when there are none.
    pub future: Option<Array2<f32>>,
    /// How many of the channels are covariates.
    pub known: usize,
    /// The distance between rows, which models with a resolution prefix are told.
    pub frequency: kiln_datasets::Frequency,
}

/// A forecast in the units of the data.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// `[horizon, targets]`
    pub point: Array2<f32>,
    /// `[horizon, targets, levels]` for [`Forecaster::quantile_levels`]; `None` for point models.
    pub quantiles: Option<Array3<f32>>,
}

/// Forecasts series it may never have seen.
pub trait Forecaster {
    /// The longest history it looks at, in rows; older rows are ignored.
    fn context(&self) -> usize;

    /// The longest horizon it can forecast, in rows.
    fn horizon(&self) -> usize;

    /// The levels of its quantile forecasts in rising order, such as 0.1, 0.5, 0.9; empty for
    /// point models.
    fn quantile_levels(&self) -> &[f64];

    /// How many channels it must be given, where its weights fix that; `None` when any number will do.
    fn channels(&self) -> Option<usize>;

    /// Forecasts `horizon` rows for each history.
    ///
    /// # Errors
    /// When the horizon is longer than the model allows, or channels do not fit.
    fn forecast(
        &self,
        histories: &[History],
        horizon: usize,
    ) -> Result<Vec<Forecast>, ForecastError>;
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// The horizon is too long.
    #[error("the model forecasts at most {longest} rows ahead, {asked} were asked for")]
    Horizon {
        /// The model's horizon.
        longest: usize,
        /// What was asked.
        asked: usize,
    },
    /// The number of channels does not fit.
    #[error("the model was trained on {expected} channels, the data has {found}")]
    Channels {
        /// The model's.
        expected: usize,
        /// The data's.
        found: usize,
    },
    /// A series without a single value.
    #[error("channel {channel} of series {series} has no value at all")]
    Empty {
        /// Its place among the histories, from 0.
        series: usize,
        /// Its column, from 0.
        channel: usize,
    },
    /// The model could not be run.
    #[error("{0}")]
    Model(String),
}

impl Blamed for ForecastError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Model(_) => Blame::Machine,
            _ => Blame::User,
        }
    }
}
