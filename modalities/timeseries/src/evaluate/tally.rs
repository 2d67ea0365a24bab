//! Scores of one forecaster over many windows.

use super::{case::Case, protocol::Average};
use crate::forecaster::Forecast;
use kiln_metrics::forecast::{Coverage, Mean, PointScores, QuantileScores};

/// Sums over windows, kept apart by case.
pub(super) struct Tally {
    cases: Vec<PointScores>,
    quantiles: QuantileScores,
    /// The levels of quantiles that form an interval: its promise, and what it held.
    pub(super) coverage: Vec<(f64, Coverage)>,
    pairs: Vec<(usize, usize)>,
}

impl Tally {
    /// Nothing scored yet; `levels` are those of the quantile forecasts, if any.
    pub(super) fn new(cases: usize, levels: &[f64]) -> Self {
        let same = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let opposite = |low: f64| levels.iter().position(|high| low < 0.5 && same(low + high, 1.0));
        let pairs: Vec<_> = levels
            .iter()
            .enumerate()
            .filter_map(|(low, level)| Some((low, opposite(*level)?)))
            .collect();
        let promise = |low: &usize| levels.get(*low).map_or(0.0, |level| 1.0 - 2.0 * level);
        Self {
            cases: vec![PointScores::default(); cases],
            quantiles: QuantileScores::new(levels),
            coverage: pairs.iter().map(|(low, _)| (promise(low), Coverage::default())).collect(),
            pairs,
        }
    }

    /// Scores all targets of a window.
    pub(super) fn add(
        &mut self,
        place: usize,
        case: &Case,
        origin: usize,
        forecast: &Forecast,
        mase_season: usize,
    ) {
        let Some(scores) = self.cases.get_mut(place) else { return };
        for channel in 0..case.series.targets() {
            let truth = case.truth(origin, channel, forecast.point.nrows());
            let (scale, unit) = (case.scale(channel, mase_season), case.unit(channel));
            for (step, truth) in truth.into_iter().map(f64::from).enumerate() {
                let Some(point) = forecast.point.get((step, channel)) else { continue };
                scores.add(truth, f64::from(*point), scale, unit);
                let Some(quantiles) = &forecast.quantiles else { continue };
                let original = |level: usize| {
                    let value = quantiles.get((step, channel, level)).copied().unwrap_or(f32::NAN);
                    unit.original(f64::from(value))
                };
                let truth = unit.original(truth);
                self.quantiles.add(truth, (0..quantiles.dim().2).map(original));
                for ((_, coverage), (low, high)) in self.coverage.iter_mut().zip(&self.pairs) {
                    coverage.add(truth, original(*low), original(*high));
                }
            }
        }
    }

    /// Adds the scores of a window.
    pub(super) fn merge(&mut self, case: usize, scores: &PointScores) {
        if let Some(sum) = self.cases.get_mut(case) {
            sum.merge(scores);
        }
    }

    /// The average of a metric; `wql` is that of a point forecast.
    pub(super) fn metric(&self, metric: &str, average: Average) -> Option<f64> {
        let of = |scores: &PointScores| match metric {
            "mse" => scores.mse.value(),
            "mae" => scores.mae.value(),
            "smape" => scores.smape.value(),
            "mase" => scores.mase.value(),
            "wql" => scores.wql(),
            _ => None,
        };
        // The quantile loss is weighted by size over everything, whatever the average.
        if average == Average::Series && metric != "wql" {
            let mut mean = Mean::default();
            self.cases.iter().filter_map(of).for_each(|value| mean.add(value));
            return mean.value();
        }
        let mut sum = PointScores::default();
        self.cases.iter().for_each(|scores| sum.merge(scores));
        of(&sum)
    }

    /// The weighted quantile loss; `None` for point forecasters.
    pub(super) fn wql(&self) -> Option<f64> {
        self.quantiles.value()
    }
}
