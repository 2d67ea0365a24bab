//! Forecast metrics: MSE, MAE, sMAPE, MASE, weighted quantile loss, coverage.
//!
//! Every measure is a streaming accumulator in `f64`, so that thousands of windows are scored
//! without keeping them. A missing truth (NaN) leaves numerator and denominator; nothing scored
//! gives `None`, never zero.
//!
//! - sMAPE and MASE as in the M4 competition, <https://doi.org/10.1016/j.ijforecast.2019.04.014>.
//! - The weighted quantile loss as in Chronos, <https://arxiv.org/abs/2403.07815>, and GluonTS.

/// The mean of numbers that arrive one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    /// Counts one number.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// Counts all that another mean has counted.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    /// The mean; `None` when nothing was counted.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// One term of M4's symmetric percentage error, in percent from 0 to 200. Two zeros agree.
pub fn smape_term(truth: f64, forecast: f64) -> f64 {
    let size = truth.abs() + forecast.abs();
    if size == 0.0 { 0.0 } else { 200.0 * (truth - forecast).abs() / size }
}

/// MASE scale: the mean absolute error of the seasonal naive forecast within `history`.
///
/// `None` when no two values are a season apart or when all such pairs are equal: the error of a
/// constant series cannot be scaled.
pub fn seasonal_scale(history: &[f32], season: usize) -> Option<f64> {
    let mut mean = Mean::default();
    let later = history.iter().skip(season.max(1));
    for (now, then) in later.zip(history).filter(|(now, then)| !now.is_nan() && !then.is_nan()) {
        mean.add((f64::from(*now) - f64::from(*then)).abs());
    }
    mean.value().filter(|scale| *scale > 0.0)
}

/// Pinball (quantile) loss: `level` times what it fell short, `1 - level` times what it
/// overshot.
pub fn pinball(truth: f64, forecast: f64, level: f64) -> f64 {
    let short = truth - forecast;
    if short >= 0.0 { level * short } else { (level - 1.0) * short }
}

/// Point errors of one forecaster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PointScores {
    /// Squared errors.
    pub mse: Mean,
    /// Absolute errors.
    pub mae: Mean,
    /// Symmetric percentage errors, in percent.
    pub smape: Mean,
    /// Absolute errors divided by their series' [`seasonal_scale`].
    pub mase: Mean,
    /// Absolute errors and absolute truths in the data's units: a quantile loss of a forecaster
    /// that gives one number for every level.
    absolute: f64,
    weight: f64,
}

impl PointScores {
    /// Scores one value. `unit` turns both numbers into the data's own units, where relative
    /// measures make sense; `scale` is the series' [`seasonal_scale`] in the units given.
    pub fn add(&mut self, truth: f64, forecast: f64, scale: Option<f64>, unit: Unit) {
        if truth.is_nan() {
            return;
        }
        let error = (truth - forecast).abs();
        self.mse.add(error * error);
        self.mae.add(error);
        if let Some(scale) = scale {
            self.mase.add(error / scale);
        }
        let (truth, forecast) = (unit.original(truth), unit.original(forecast));
        self.smape.add(smape_term(truth, forecast));
        self.absolute += (truth - forecast).abs();
        self.weight += truth.abs();
    }

    /// Counts all that another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.mse.merge(&other.mse);
        self.mae.merge(&other.mae);
        self.smape.merge(&other.smape);
        self.mase.merge(&other.mase);
        self.absolute += other.absolute;
        self.weight += other.weight;
    }

    /// The weighted quantile loss of the point forecast taken for every level: at each level pair
    /// `q`, `1 - q` it is the weighted absolute error.
    pub fn wql(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.absolute / self.weight)
    }
}

/// How standardised values become the data's own: `value * std + mean`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Added last.
    pub mean: f64,
    /// Multiplied first.
    pub std: f64,
}

impl Default for Unit {
    fn default() -> Self {
        Self { mean: 0.0, std: 1.0 }
    }
}

impl Unit {
    /// A standardised value in the data's units.
    pub fn original(self, value: f64) -> f64 {
        value * self.std + self.mean
    }
}

/// The weighted quantile loss: twice the pinball loss over the absolute truth, averaged over the
/// levels.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileScores {
    levels: Vec<f64>,
    pinball: Vec<f64>,
    weight: f64,
}

impl QuantileScores {
    /// Nothing scored yet, for forecasts at these levels.
    pub fn new(levels: &[f64]) -> Self {
        Self { levels: levels.to_vec(), pinball: vec![0.0; levels.len()], weight: 0.0 }
    }

    /// Scores the quantiles of one value, one a level and in the data's units.
    pub fn add(&mut self, truth: f64, quantiles: impl IntoIterator<Item = f64>) {
        if truth.is_nan() {
            return;
        }
        self.weight += truth.abs();
        for ((sum, level), quantile) in self.pinball.iter_mut().zip(&self.levels).zip(quantiles) {
            *sum += pinball(truth, quantile, *level);
        }
    }

    /// Counts all that another, of the same levels, has counted.
    pub fn merge(&mut self, other: &Self) {
        self.weight += other.weight;
        for (sum, more) in self.pinball.iter_mut().zip(&other.pinball) {
            *sum += more;
        }
    }

    /// The loss; `None` without levels or where all truths are zero.
    pub fn value(&self) -> Option<f64> {
        let scored = self.weight > 0.0 && !self.levels.is_empty();
        scored.then(|| {
            2.0 * self.pinball.iter().sum::<f64>() / self.weight / self.levels.len() as f64
        })
    }
}

/// The share of truths that fell into an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage(Mean);

impl Coverage {
    /// Scores one interval, both ends included.
    pub fn add(&mut self, truth: f64, lower: f64, upper: f64) {
        if !truth.is_nan() {
            self.0.add(f64::from(u8::from(lower <= truth && truth <= upper)));
        }
    }

    /// Counts all that another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The share, 0 to 1.
    pub fn value(&self) -> Option<f64> {
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(truth: &[f64], forecast: &[f64], scale: Option<f64>) -> PointScores {
        let mut scores = PointScores::default();
        for (truth, forecast) in truth.iter().zip(forecast) {
            scores.add(*truth, *forecast, scale, Unit::default());
        }
        scores
    }

    #[test]
    fn point_errors_by_hand() {
        // Errors 1, 2 and 0 of truths 1, 4 and 0.
        let scores = score(&[1.0, 4.0, 0.0], &[2.0, 2.0, 0.0], Some(2.0));
        assert_eq!(scores.mse.value(), Some(5.0 / 3.0));
        assert_eq!(scores.mae.value(), Some(1.0));
        assert_eq!(scores.mase.value(), Some(0.5));
        // 200/3 % of 1 against 2, 200 * 2/6 % of 4 against 2, and two zeros agree.
        assert!((scores.smape.value().unwrap() - 400.0 / 9.0).abs() < 1e-12);
        assert_eq!(scores.wql(), Some(3.0 / 5.0));
    }

    #[test]
    fn missing_truth_is_in_neither_part() {
        let with = score(&[1.0, f64::NAN, 3.0], &[2.0, 100.0, 3.0], Some(1.0));
        assert_eq!(with, score(&[1.0, 3.0], &[2.0, 3.0], Some(1.0)));
        let none = score(&[f64::NAN], &[1.0], Some(1.0));
        assert_eq!((none.mse.value(), none.smape.value(), none.wql()), (None, None, None));
    }

    #[test]
    fn units_matter_to_relative_measures_only() {
        let mut scores = PointScores::default();
        // In the data's units: truth 10 + 2 = 12, forecast 10.
        scores.add(1.0, 0.0, Some(1.0), Unit { mean: 10.0, std: 2.0 });
        assert_eq!(scores.mae.value(), Some(1.0));
        assert!((scores.smape.value().unwrap() - 200.0 * 2.0 / 22.0).abs() < 1e-12);
        assert_eq!(scores.wql(), Some(2.0 / 12.0));
    }

    #[test]
    fn scale_is_the_seasonal_naive_error() {
        assert_eq!(seasonal_scale(&[1.0, 2.0, 4.0, 7.0], 1), Some(2.0));
        assert_eq!(seasonal_scale(&[1.0, 2.0, 4.0, 7.0], 2), Some(4.0));
        assert_eq!(seasonal_scale(&[1.0, f32::NAN, 4.0, 7.0], 1), Some(3.0));
        assert_eq!(seasonal_scale(&[3.0, 3.0, 3.0], 1), None, "constant");
        assert_eq!(seasonal_scale(&[3.0], 1), None, "too short");
    }

    #[test]
    fn quantile_loss_by_hand() {
        let mut scores = QuantileScores::new(&[0.1, 0.9]);
        // Truth 10: 0.1 * 2 below, 0.1 * 3 above. Truth -10: all exact.
        scores.add(10.0, [8.0, 13.0]);
        scores.add(-10.0, [-10.0, -10.0]);
        scores.add(f64::NAN, [1.0, 2.0]);
        // 2 * 0.2 / 20 and 2 * 0.3 / 20, averaged.
        assert!((scores.value().unwrap() - 0.025).abs() < 1e-12);
        let mut twice = scores.clone();
        twice.merge(&scores);
        assert!((twice.value().unwrap() - 0.025).abs() < 1e-12);
        assert_eq!(QuantileScores::new(&[]).value(), None);
    }

    #[test]
    fn one_number_for_every_level_is_the_weighted_absolute_error() {
        let (truth, forecast) = ([3.0, -1.0, 5.0], [2.0, 1.0, 5.5]);
        let mut quantiles = QuantileScores::new(&[0.1, 0.5, 0.9]);
        for (truth, forecast) in truth.iter().zip(forecast) {
            quantiles.add(*truth, [forecast; 3]);
        }
        let point = score(&truth, &forecast, None).wql().unwrap();
        assert!((quantiles.value().unwrap() - point).abs() < 1e-12);
    }

    #[test]
    fn coverage_counts_both_ends() {
        let mut coverage = Coverage::default();
        for truth in [0.0, 1.0, 2.0, 3.0, f64::NAN] {
            coverage.add(truth, 1.0, 2.0);
        }
        assert_eq!(coverage.value(), Some(0.5));
    }
}
