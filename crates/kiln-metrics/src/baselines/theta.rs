//! The Theta method as the M3 and M4 benchmark runs it.
//!
//! Assimakopoulos and Nikolopoulos 2000, <https://doi.org/10.1016/S0169-2070(00)00066-2>: where a
//! season is significant it is taken out, the mean of the linear trend (theta 0) and the smoothed
//! theta-2 line is forecast, and the season is put back. Where values are not all positive the
//! season is additive; negative forecasts are kept, as the data may be negative.

use super::{
    Baseline,
    fill::carried_forward,
    season::{Decomposition, Model, is_seasonal},
    ses::Ses,
};

/// The Theta method.
#[derive(Clone, Copy, Debug, Default)]
pub struct Theta;

impl Baseline for Theta {
    fn name(&self) -> &'static str {
        "theta"
    }

    fn forecast(&self, history: &[f32], horizon: usize, season: usize) -> Vec<f32> {
        let mut series = carried_forward(history);
        if series.is_empty() {
            return vec![0.0; horizon];
        }
        let seasonal = is_seasonal(&series, season).then(|| decompose(&series, season)).flatten();
        if let Some(seasonal) = &seasonal {
            for (row, value) in series.iter_mut().enumerate() {
                *value = seasonal.remove(row, *value);
            }
        }
        let (intercept, slope) = line(&series);
        // Theta line 2: twice the distance from the trend.
        let theta: Vec<_> = series
            .iter()
            .enumerate()
            .map(|(row, value)| 2.0 * value - (intercept + slope * row as f64))
            .collect();
        let level = Ses::fit(&theta).level;
        (series.len()..series.len() + horizon)
            .map(|row| {
                let value = (level + intercept + slope * row as f64) / 2.0;
                seasonal.as_ref().map_or(value, |seasonal| seasonal.restore(row, value)) as f32
            })
            .collect()
    }
}

/// Multiplicative where all values are positive, otherwise additive.
fn decompose(series: &[f64], season: usize) -> Option<Decomposition> {
    let positive = series.iter().all(|value| *value > 0.0);
    let multiplicative =
        positive.then(|| Decomposition::new(series, season, Model::Multiplicative)).flatten();
    multiplicative.or_else(|| Decomposition::new(series, season, Model::Additive))
}

/// Intercept and slope of the least-squares line over rows 0, 1, ...
fn line(series: &[f64]) -> (f64, f64) {
    let length = series.len() as f64;
    let middle = (length - 1.0) / 2.0;
    let mean = series.iter().sum::<f64>() / length;
    let cross: f64 =
        series.iter().enumerate().map(|(row, value)| (row as f64 - middle) * (value - mean)).sum();
    let spread = length * (length * length - 1.0) / 12.0;
    let slope = if spread > 0.0 { cross / spread } else { 0.0 };
    (mean - slope * middle, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_by_hand() {
        let (intercept, slope) = line(&[1.0, 3.0, 5.0, 7.0]);
        assert!((intercept - 1.0).abs() < 1e-12 && (slope - 2.0).abs() < 1e-12);
        assert_eq!(line(&[4.0]), (4.0, 0.0));
    }

    #[test]
    fn a_line_goes_on_at_half_its_slope() {
        // Theta line 2 of a line is the line itself, which smoothing follows to its last value.
        let history: Vec<_> = (0..50).map(|t| 10.0 + 2.0 * t as f32).collect();
        let forecast = Theta.forecast(&history, 3, 1);
        for (step, forecast) in forecast.iter().enumerate() {
            let expected = f32::midpoint(108.0, 110.0 + 2.0 * step as f32);
            assert!((forecast - expected).abs() < 0.05, "{forecast} {expected}");
        }
    }

    #[test]
    fn a_season_is_put_back() {
        for offset in [100.0, 0.0] {
            let season = [4.0, -1.0, -5.0, 2.0];
            let history: Vec<_> = (0..80).map(|t| offset + season[t % 4]).collect();
            let forecast = Theta.forecast(&history, 4, 4);
            for (forecast, season) in forecast.iter().zip(season) {
                assert!((forecast - offset - season).abs() < 0.1, "{forecast} {season}");
            }
        }
    }
}
