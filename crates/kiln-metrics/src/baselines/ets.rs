//! Exponential smoothing with a damped trend and an additive season.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, chapter 8,
//! <https://otexts.com/fpp3/expsmooth.html>: additive errors, ETS(A,Ad,A) where a season is
//! significant, otherwise ETS(A,Ad,N) or ETS(A,N,N), whichever has the lower corrected Akaike
//! criterion. Smoothing weights minimise squared one-step errors; first states come from the data
//! (a classical decomposition and the first values) instead of a search.

use super::{
    Baseline,
    fill::carried_forward,
    optimise::nelder_mead,
    season::{Decomposition, Model, is_seasonal},
};

/// Exponential smoothing, its form chosen by the data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ets;

/// Evaluations of the search, which keep a window of 512 rows under a millisecond.
const EVALUATIONS: usize = 90;

impl Baseline for Ets {
    fn name(&self) -> &'static str {
        "ets"
    }

    fn forecast(&self, history: &[f32], horizon: usize, season: usize) -> Vec<f32> {
        let series = carried_forward(history);
        let Some(first) = series.first() else {
            return vec![0.0; horizon];
        };
        let seasonal = is_seasonal(&series, season)
            .then(|| Decomposition::new(&series, season, Model::Additive))
            .flatten();
        if let Some(seasonal) = seasonal {
            let start = State::start(&series, &seasonal.indices);
            let (weights, _) = nelder_mead([0.3, 0.1, 0.2, 0.9], EVALUATIONS, |weights| {
                smooth(&series, Weights::seasonal(*weights), start.clone()).0
            });
            return smooth(&series, Weights::seasonal(weights), start).1.forecast(horizon);
        }
        let level = State { level: *first, slope: 0.0, damping: 0.0, season: vec![0.0], phase: 0 };
        let (flat, flat_cost) = nelder_mead([0.3], EVALUATIONS / 3, |[alpha]| {
            smooth(&series, Weights::level(*alpha), level.clone()).0
        });
        let start = State::start(&series, &[0.0]);
        let (trend, trend_cost) = nelder_mead([0.3, 0.1, 0.9], EVALUATIONS, |weights| {
            smooth(&series, Weights::trend(*weights), start.clone()).0
        });
        let length = series.len();
        // Parameters: weights, first states and the variance of the errors.
        if criterion(trend_cost, length, 6) < criterion(flat_cost, length, 3) {
            smooth(&series, Weights::trend(trend), start).1.forecast(horizon)
        } else {
            smooth(&series, Weights::level(flat[0]), level).1.forecast(horizon)
        }
    }
}

/// The corrected Akaike criterion of a sum of squared errors; infinite when there are too few
/// values for so many parameters.
fn criterion(squares: f64, length: usize, parameters: usize) -> f64 {
    let (n, k) = (length as f64, parameters as f64);
    if n - k - 1.0 <= 0.0 {
        return f64::INFINITY;
    }
    n * (squares.max(1e-12) / n).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0)
}

/// Smoothing weights in the form of additive errors.
#[derive(Clone, Copy)]
struct Weights {
    level: f64,
    slope: f64,
    season: f64,
    damping: f64,
}

impl Weights {
    /// From the unit box of the search to the usual region: the slope's weight at most the
    /// level's, the season's at most what the level leaves, damping from 0.8 to 0.98.
    fn seasonal([alpha, beta, gamma, phi]: [f64; 4]) -> Self {
        let level = 1e-4 + 0.9998 * alpha;
        Self {
            level,
            slope: level * beta,
            season: (1.0 - level) * gamma,
            damping: 0.8 + 0.18 * phi,
        }
    }

    fn trend([alpha, beta, phi]: [f64; 3]) -> Self {
        Self { season: 0.0, ..Self::seasonal([alpha, beta, 0.0, phi]) }
    }

    fn level(alpha: f64) -> Self {
        Self { slope: 0.0, season: 0.0, damping: 0.0, ..Self::seasonal([alpha, 0.0, 0.0, 0.0]) }
    }
}

/// What smoothing knows after a row.
#[derive(Clone)]
struct State {
    level: f64,
    slope: f64,
    damping: f64,
    /// One number a phase.
    season: Vec<f64>,
    /// The phase of the next row.
    phase: usize,
}

impl State {
    /// First states from the first season (at least the first ten values) and the one after.
    fn start(series: &[f64], season: &[f64]) -> Self {
        let adjusted = |row: usize, value: &f64| value - season[row % season.len()];
        let span = season.len().max(10).min(series.len() / 2).max(1);
        let mean = |from: usize| {
            let rows = series.iter().enumerate().skip(from).take(span);
            let (sum, count) =
                rows.fold((0.0, 0.0), |(s, c), (row, value)| (s + adjusted(row, value), c + 1.0));
            sum / f64::max(count, 1.0)
        };
        let slope =
            if series.len() >= 2 * span { (mean(span) - mean(0)) / span as f64 } else { 0.0 };
        // The mean stands in the middle of its span; the first state before its first row.
        let level = mean(0) - slope * (span as f64 + 1.0) / 2.0;
        Self { level, slope, damping: 0.0, season: season.to_vec(), phase: 0 }
    }

    fn forecast(&self, horizon: usize) -> Vec<f32> {
        let (mut damping, mut sum) = (1.0, 0.0);
        (0..horizon)
            .map(|step| {
                damping *= self.damping;
                sum += damping;
                let season = self.season[(self.phase + step) % self.season.len()];
                (self.level + sum * self.slope + season) as f32
            })
            .collect()
    }
}

/// Runs over a series: the sum of squared one-step errors and the last state.
fn smooth(series: &[f64], weights: Weights, start: State) -> (f64, State) {
    let State { mut level, mut slope, mut season, mut phase, .. } = start;
    let mut squares = 0.0;
    for value in series {
        let trend = weights.damping * slope;
        let seasonal = &mut season[phase];
        let error = value - level - trend - *seasonal;
        squares += error * error;
        level += trend + weights.level * error;
        slope = trend + weights.slope * error;
        *seasonal += weights.season * error;
        phase += 1;
        if phase == season.len() {
            phase = 0;
        }
    }
    (squares, State { level, slope, damping: weights.damping, season, phase })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_by_hand() {
        let start =
            State { level: 10.0, slope: 2.0, damping: 0.0, season: vec![1.0, -1.0], phase: 0 };
        let weights = Weights { level: 0.5, slope: 0.25, season: 0.1, damping: 0.9 };
        // Expected 10 + 1.8 + 1 = 12.8; the error of 14.8 is 2.
        let (squares, state) = smooth(&[14.8], weights, start);
        assert!((squares - 4.0).abs() < 1e-9);
        assert!((state.level - 12.8).abs() < 1e-9);
        assert!((state.slope - 2.3).abs() < 1e-9);
        assert!((state.season[0] - 1.2).abs() < 1e-9);
        let forecast = state.forecast(2);
        // 12.8 + 0.9 * 2.3 - 1, then 12.8 + (0.9 + 0.81) * 2.3 + 1.2.
        assert!((forecast[0] - 13.87).abs() < 1e-5);
        assert!((forecast[1] - 17.933).abs() < 1e-5);
    }

    #[test]
    fn trend_and_season_go_on() {
        let season = [3.0, 0.0, -4.0, 1.0];
        let row = |t: usize| 0.2 * t as f32 + season[t % 4];
        let history: Vec<_> = (0..100).map(row).collect();
        for (step, forecast) in Ets.forecast(&history, 4, 4).iter().enumerate() {
            assert!((forecast - row(100 + step)).abs() < 0.5, "{step}: {forecast}");
        }
    }

    #[test]
    fn a_trend_is_found_without_a_season() {
        let history: Vec<_> = (0..60).map(|t| 5.0 + t as f32).collect();
        let forecast = Ets.forecast(&history, 2, 1);
        assert!((forecast[0] - 65.0).abs() < 0.3 && forecast[1] > forecast[0], "{forecast:?}");
    }

    #[test]
    fn too_few_values_for_the_parameters() {
        assert_eq!(criterion(1.0, 4, 3), f64::INFINITY);
        assert!(criterion(1.0, 40, 3) < criterion(1.0, 40, 6));
    }
}
