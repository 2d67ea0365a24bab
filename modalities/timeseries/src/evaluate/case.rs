//! A series and where in it forecasts are made.

use crate::forecaster::History;
use kiln_datasets::{Series, Split, SplitPart, Standardizer, m4::Holdout};
use kiln_metrics::forecast::{Unit, seasonal_scale};
use ndarray::{Array2, Axis, concatenate, s};
use std::{ops::Range, sync::OnceLock};

/// A series, the rows that scales are taken from, and the first row of each forecast.
#[derive(Debug)]
pub struct Case {
    /// The whole series as the forecaster sees it: history and truth, standardised or not.
    pub series: Series,
    /// The rows that `mase` is scaled by: the training part.
    pub train: Range<usize>,
    /// The first row of each forecast. Rows before it are its history.
    pub origins: Vec<usize>,
    /// How values become the data's own, where they were standardised.
    pub units: Option<Standardizer>,
    /// MASE's scale a target, for the season it was first asked for.
    scales: OnceLock<(usize, Vec<Option<f64>>)>,
}

impl Case {
    /// Forecasts of any rows.
    pub fn new(series: Series, train: Range<usize>, origins: Vec<usize>) -> Self {
        Self { series, train, origins, units: None, scales: OnceLock::new() }
    }

    /// Every `stride`-th window of a part (`&split.test`), with a full `context` before each and
    /// `horizon` rows of the part after. With `standardise`, the whole series is scaled by the
    /// mean and deviation of the training part first.
    pub fn rolling(
        mut series: Series,
        split: &Split,
        part: &SplitPart,
        window: (usize, usize),
        stride: usize,
        standardise: bool,
    ) -> Self {
        let (context, horizon) = window;
        let train = clip(&split.train.rows, series.len());
        let units =
            standardise.then(|| Standardizer::fit(series.values.slice(s![train.clone(), ..])));
        if let Some(units) = &units {
            units.apply(&mut series.values);
        }
        let origins = part.origins(context, horizon).step_by(stride.max(1));
        let origins = origins.filter(|origin| origin + horizon <= series.len()).collect();
        Self { units, ..Self::new(series, train, origins) }
    }

    /// One forecast from the end of the training file, with the test file as the truth.
    pub fn held_out(pair: Holdout) -> Self {
        let Holdout { mut series, future } = pair;
        let end = series.len();
        let truth = Array2::from_shape_vec((future.len(), 1), future);
        // Only series of one channel have a single row of truth; others keep no origin.
        let whole =
            truth.ok().and_then(|t| concatenate(Axis(0), &[series.values.view(), t.view()]).ok());
        let origins = if whole.is_some() && end > 0 { vec![end] } else { Vec::new() };
        series.values = whole.unwrap_or(series.values);
        Self::new(series, 0..end, origins)
    }

    /// What a forecaster with this context is told at `origin`; `None` beyond the series.
    pub(super) fn history(&self, origin: usize, context: usize, horizon: usize) -> Option<History> {
        let Series { values, known, frequency, .. } = &self.series;
        if origin > values.nrows() {
            return None;
        }
        let past = values.slice(s![origin.saturating_sub(context)..origin, ..]).to_owned();
        let future = (*known > 0).then(|| {
            let covariates = values.slice(s![origin.., self.series.targets()..]);
            Array2::from_shape_fn((horizon, *known), |at| {
                covariates.get(at).copied().unwrap_or(f32::NAN)
            })
        });
        Some(History { past, future, known: *known, frequency: *frequency })
    }

    /// Whether the row is one to forecast from: every target has a value in the history.
    pub(super) fn has_history(&self, origin: usize, context: usize) -> bool {
        let values = &self.series.values;
        let rows = clip(&(origin.saturating_sub(context)..origin), values.nrows());
        let targets = values.slice(s![rows, ..self.series.targets()]);
        let told = targets
            .columns()
            .into_iter()
            .all(|column| column.iter().any(|value| value.is_finite()));
        origin <= values.nrows() && told
    }

    /// `[horizon]` or as much of it as the series has: a target's values from `origin` on.
    pub(super) fn truth(&self, origin: usize, channel: usize, horizon: usize) -> Vec<f32> {
        let rows = clip(&(origin..origin + horizon), self.series.len());
        self.series.values.slice(s![rows, channel]).to_vec()
    }

    /// MASE's scale of a target.
    pub(super) fn scale(&self, channel: usize, season: usize) -> Option<f64> {
        let of = |channel: usize| {
            let train = clip(&self.train, self.series.len());
            seasonal_scale(&self.series.values.slice(s![train, channel]).to_vec(), season)
        };
        let (cached, scales) =
            self.scales.get_or_init(|| (season, (0..self.series.targets()).map(of).collect()));
        if *cached == season { scales.get(channel).copied().flatten() } else { of(channel) }
    }

    /// How a target's values become the data's own.
    pub(super) fn unit(&self, channel: usize) -> Unit {
        let of = |units: &Standardizer| {
            let (mean, std) = (units.mean.get(channel)?, units.std.get(channel)?);
            Some(Unit { mean: f64::from(*mean), std: f64::from(*std) })
        };
        self.units.as_ref().and_then(of).unwrap_or_default()
    }
}

fn clip(rows: &Range<usize>, length: usize) -> Range<usize> {
    rows.start.min(length)..rows.end.min(length).max(rows.start.min(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::{Frequency, SplitProtocol};

    fn series(values: &[f32]) -> Series {
        Series::univariate("s", values.to_vec(), Frequency::DAILY)
    }

    #[test]
    fn rolling_windows_are_scaled_by_the_training_part() {
        let whole = series(&[1.0, 3.0, 1.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
        let split = SplitProtocol::Tail { test: 4, validation: 0 }.split(&whole).unwrap();
        let case = Case::rolling(whole, &split, &split.test, (2, 2), 2, true);
        assert_eq!(case.origins, [4, 6]);
        assert_eq!(case.series.values.column(0).to_vec()[..5], [-1.0, 1.0, -1.0, 1.0, 8.0]);
        assert_eq!(case.unit(0), Unit { mean: 2.0, std: 1.0 });
        assert_eq!((case.scale(0, 1), case.scale(0, 2)), (Some(2.0), None));
        assert_eq!(case.truth(6, 0, 5), [10.0, 11.0], "as much as there is");
    }

    #[test]
    fn a_holdout_is_forecast_from_its_end() {
        let case =
            Case::held_out(Holdout { series: series(&[1.0, 2.0, 4.0]), future: vec![8.0, 9.0] });
        assert_eq!((&case.origins[..], case.train.clone()), (&[3][..], 0..3));
        let history = case.history(3, 2, 2).unwrap();
        assert_eq!(history.past.column(0).to_vec(), [2.0, 4.0]);
        assert_eq!(case.truth(3, 0, 2), [8.0, 9.0]);
        assert!(history.future.is_none() && case.history(6, 2, 2).is_none());
    }

    #[test]
    fn known_covariates_come_with_their_future() {
        let mut both = series(&[0.0; 4]);
        both.values = Array2::from_shape_fn((4, 2), |(row, channel)| (row * 10 + channel) as f32);
        both.known = 1;
        let case = Case::new(both, 0..2, vec![2]);
        let history = case.history(2, 8, 2).unwrap();
        assert_eq!(history.future.unwrap().column(0).to_vec(), [21.0, 31.0]);
        assert_eq!(history.past.ncols(), 2);
    }

    #[test]
    fn silence_is_noticed() {
        let nan = f32::NAN;
        let case = Case::new(series(&[1.0, nan, nan, 2.0]), 0..4, vec![3]);
        assert!(case.has_history(3, 3) && !case.has_history(3, 2) && !case.has_history(0, 2));
        assert!(!case.has_history(9, 8), "beyond the series");
    }
}
