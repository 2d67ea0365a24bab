//! Intervals for models that give one number: split-conformal from a backtest.
//!
//! The model forecasts rows of the history from earlier rows; the interval at a step is the point
//! forecast plus and minus the quantile of the absolute errors at that step and its neighbours,
//! with the correction for finite samples (Vovk et al. 2005; Lei et al. 2018,
//! <https://arxiv.org/abs/1604.04173>). Widths are smoothed over steps.
//!
//! What it promises holds when errors to come are like those of the backtest: not for a model that
//! was trained on this very history (its errors there are too small), nor across a change of
//! regime.

use crate::forecaster::Forecast;
use kiln_datasets::Series;
use ndarray::ArrayView1;

/// Forecasts in the backtest, at most.
const MOST: usize = 48;
/// Rows that a forecast of the backtest can look back on, at least.
const LEAST_HISTORY: usize = 4;
/// Errors that a quantile is taken from, at least.
const LEAST_ERRORS: usize = 8;

/// First rows of the backtest's forecasts, spread over the latest part of the history: far enough
/// back that the last steps of the horizon were seen often enough, and each with a history
/// of its own where every target has a value.
pub fn origins(series: &Series, horizon: usize, context: usize) -> Vec<usize> {
    let length = series.len();
    let earliest = LEAST_HISTORY.max(context.min(length / 2));
    let reach = horizon + MOST.max(horizon);
    let first = length.saturating_sub(reach).max(earliest);
    if first >= length {
        return Vec::new();
    }
    let rows = length - first;
    let count = rows.min(MOST);
    let candidates = (0..count).map(|place| first + place * rows / count);
    candidates
        .filter(|origin| {
            let from = origin.saturating_sub(context);
            (0..series.targets()).all(|channel| {
                let past = (from..*origin).filter_map(|row| series.values.get((row, channel)));
                past.clone().any(|value| value.is_finite())
            })
        })
        .collect()
}

/// `[horizon]`, the absolute errors of the backtest's forecasts at each step.
pub fn errors(
    origins: &[usize],
    forecasts: &[Forecast],
    truth: ArrayView1<'_, f32>,
    channel: usize,
    horizon: usize,
) -> Vec<Vec<f32>> {
    let mut errors = vec![Vec::new(); horizon];
    for (origin, forecast) in origins.iter().zip(forecasts) {
        for (step, errors) in errors.iter_mut().enumerate() {
            let (truth, point) = (truth.get(origin + step), forecast.point.get((step, channel)));
            if let (Some(truth), Some(point)) = (truth, point) {
                let error = (truth - point).abs();
                if error.is_finite() {
                    errors.push(error);
                }
            }
        }
    }
    errors
}

/// `[horizon]`, half of each interval's width; `None` when there are too few errors in all.
///
/// A step with few errors of its own borrows from the steps beside it, as many as it takes.
pub fn half_widths(errors: &[Vec<f32>], level: f64) -> Option<Vec<f32>> {
    let steps = errors.len();
    if errors.iter().map(Vec::len).sum::<usize>() < LEAST_ERRORS {
        return None;
    }
    let width = |step: usize| {
        let mut reach = 1;
        loop {
            let near = errors.get(step.saturating_sub(reach)..(step + reach + 1).min(steps))?;
            let mut pooled: Vec<_> = near.iter().flatten().copied().collect();
            // Quantiles of a dozen errors jump; twice the least number is steadier.
            if pooled.len() >= 2 * LEAST_ERRORS || reach >= steps {
                return conformal_quantile(&mut pooled, level);
            }
            reach += 1;
        }
    };
    let widths = (0..steps).map(width).collect::<Option<Vec<_>>>()?;
    let smooth = |step: usize| {
        let near = widths.get(step.saturating_sub(2)..(step + 3).min(steps)).unwrap_or_default();
        near.iter().sum::<f32>() / near.len().max(1) as f32
    };
    Some((0..steps).map(smooth).collect())
}

/// The `ceil((n + 1) * level)`-th smallest of `n` errors; the largest when that is beyond them.
fn conformal_quantile(errors: &mut [f32], level: f64) -> Option<f32> {
    errors.sort_by(f32::total_cmp);
    let rank = ((errors.len() + 1) as f64 * level).ceil() as usize;
    errors.get(rank.clamp(1, errors.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::Frequency;
    use ndarray::{array, aview1};

    #[test]
    fn quantile_by_hand() {
        let mut errors: Vec<_> = (1..=9).rev().map(|error| error as f32).collect();
        assert_eq!(conformal_quantile(&mut errors, 0.8), Some(8.0), "the 8th of 9");
        assert_eq!(conformal_quantile(&mut errors, 0.99), Some(9.0));
        assert_eq!(conformal_quantile(&mut [], 0.8), None);
    }

    #[test]
    fn errors_by_hand() {
        let forecast = |point| Forecast { point, quantiles: None };
        let forecasts = [forecast(array![[1.0], [1.0]]), forecast(array![[4.0], [9.0]])];
        let found = errors(&[1, 2], &forecasts, aview1(&[0.0, f32::NAN, 3.0]), 0, 2);
        assert_eq!(found, [vec![1.0], vec![2.0]]);
    }

    #[test]
    fn widths_grow_with_errors_and_steps_borrow() {
        let errors: Vec<_> = (1..=10).map(|step| vec![step as f32; 16]).collect();
        let widths = half_widths(&errors, 0.8).unwrap();
        assert!(widths.windows(2).all(|pair| pair[0] <= pair[1]), "{widths:?}");
        let few = vec![vec![1.0; 8], Vec::new(), Vec::new()];
        assert_eq!(half_widths(&few, 0.8), Some(vec![1.0; 3]));
        assert_eq!(half_widths(&[vec![1.0; 7]], 0.8), None);
    }

    #[test]
    fn origins_leave_a_history() {
        let series = |rows: usize| Series::univariate("s", vec![1.0; rows], Frequency::DAILY);
        let found = origins(&series(200), 10, 32);
        assert_eq!((found.len(), found[0]), (48, 142));
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]) && found[47] < 200);
        assert_eq!(origins(&series(20), 10, 512)[0], 10);
        assert!(origins(&series(4), 10, 512).is_empty());
        let mut silent = series(20);
        silent.values.slice_mut(ndarray::s![..15, ..]).fill(f32::NAN);
        assert_eq!(origins(&silent, 10, 512)[0], 16, "nothing known before");
    }
}
