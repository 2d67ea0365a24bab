//! Statistical forecasting baselines: naive, drift, theta, exponential smoothing.
//!
//! Baselines see the history of one channel and nothing else. Missing values are skipped where
//! the method allows it and carried forward where it needs every value; the data itself is never
//! changed. A history without any value is forecast as zero.

mod ets;
mod fill;
mod naive;
mod optimise;
#[cfg(test)]
mod published;
mod season;
mod ses;
mod theta;

pub use ets::Ets;
pub use naive::{Drift, Naive, SeasonalNaive};
pub use season::{Decomposition, Model, is_seasonal};
pub use theta::Theta;

/// A forecaster without weights.
pub trait Baseline: Sync {
    /// As in `results.json`.
    fn name(&self) -> &'static str;

    /// Forecasts `horizon` values after `history`, which repeats itself after `season` values (1
    /// where it does not) and is NaN where a value is missing.
    fn forecast(&self, history: &[f32], horizon: usize, season: usize) -> Vec<f32>;
}

/// All baselines, in the order in which tables show them.
pub fn all() -> [&'static dyn Baseline; 5] {
    [&Naive, &SeasonalNaive, &Drift, &Theta, &Ets]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_forecast_as_zero() {
        for baseline in all() {
            for history in [&[][..], &[f32::NAN; 5][..]] {
                assert_eq!(baseline.forecast(history, 3, 4), [0.0; 3], "{}", baseline.name());
            }
        }
    }

    #[test]
    fn a_constant_goes_on() {
        for baseline in all() {
            for forecast in baseline.forecast(&[5.0; 60], 7, 12) {
                assert!((forecast - 5.0).abs() < 1e-4, "{}: {forecast}", baseline.name());
            }
        }
    }

    #[test]
    fn every_length_gives_finite_numbers() {
        for length in 1..40_usize {
            let mut history: Vec<_> = (0..length).map(|t| (t as f32 * 1.7).sin() * 3.0).collect();
            for missing in (0..length).step_by(7) {
                history[missing] = f32::NAN;
            }
            for baseline in all() {
                for season in [0, 1, 4, 12] {
                    let forecast = baseline.forecast(&history, 9, season);
                    assert_eq!(forecast.len(), 9);
                    let name = baseline.name();
                    assert!(forecast.iter().all(|f| f.is_finite()), "{name} {length} {season}");
                }
            }
        }
    }
}
