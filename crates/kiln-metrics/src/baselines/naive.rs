//! Forecasts that only repeat or extend what was seen last.

use super::Baseline;

/// The last value, for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naive;

impl Baseline for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn forecast(&self, history: &[f32], horizon: usize, _season: usize) -> Vec<f32> {
        vec![last(history).map_or(0.0, |(_, value)| value); horizon]
    }
}

/// The value one season ago; where that is missing, two seasons ago, and so on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeasonalNaive;

impl Baseline for SeasonalNaive {
    fn name(&self) -> &'static str {
        "seasonal-naive"
    }

    fn forecast(&self, history: &[f32], horizon: usize, season: usize) -> Vec<f32> {
        let season = season.max(1);
        let fallback = last(history).map_or(0.0, |(_, value)| value);
        let cycle: Vec<_> = (0..season.min(horizon))
            .map(|phase| {
                // Phase 0 is the first forecast: one season before it lies at `len - season`.
                let newest = (history.len() + phase).checked_sub(season);
                let same_phase = newest.map(|newest| history.iter().take(newest + 1).rev());
                same_phase
                    .and_then(|rows| rows.step_by(season).find(|value| value.is_finite()))
                    .copied()
                    .unwrap_or(fallback)
            })
            .collect();
        cycle.iter().copied().cycle().take(horizon).collect()
    }
}

/// The straight line through the first and the last value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drift;

impl Baseline for Drift {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn forecast(&self, history: &[f32], horizon: usize, _season: usize) -> Vec<f32> {
        let Some((end, newest)) = last(history) else {
            return vec![0.0; horizon];
        };
        let first = history.iter().position(|value| value.is_finite()).unwrap_or(end);
        let oldest = history.get(first).copied().unwrap_or(newest);
        let rows = end.saturating_sub(first).max(1) as f64;
        let slope = (f64::from(newest) - f64::from(oldest)) / rows;
        // Rows between the last value and the first forecast are missing: the line runs through.
        let gap = history.len() - 1 - end;
        (1..=horizon).map(|step| (f64::from(newest) + slope * (gap + step) as f64) as f32).collect()
    }
}

/// The last value and its row.
fn last(history: &[f32]) -> Option<(usize, f32)> {
    let row = history.iter().rposition(|value| value.is_finite())?;
    history.get(row).map(|value| (row, *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    #[test]
    fn naive_repeats_the_last_value_known() {
        assert_eq!(Naive.forecast(&[1.0, 3.0, NAN], 2, 1), [3.0, 3.0]);
    }

    #[test]
    fn seasonal_naive_repeats_the_season() {
        let history = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(SeasonalNaive.forecast(&history, 5, 3), [4.0, 5.0, 6.0, 4.0, 5.0]);
        assert_eq!(SeasonalNaive.forecast(&history, 2, 1), [6.0, 6.0], "no season: naive");
    }

    #[test]
    fn seasonal_naive_looks_further_back_for_missing_values() {
        let history = [1.0, 2.0, 3.0, NAN, 5.0, 6.0];
        assert_eq!(SeasonalNaive.forecast(&history, 3, 3), [1.0, 5.0, 6.0]);
        assert_eq!(SeasonalNaive.forecast(&[NAN, 2.0], 3, 3), [2.0; 3], "shorter than a season");
        assert_eq!(SeasonalNaive.forecast(&[1.0, 2.0], 3, 3), [2.0, 1.0, 2.0]);
    }

    #[test]
    fn drift_extends_the_line_through_both_ends() {
        assert_eq!(Drift.forecast(&[1.0, 7.0, 5.0], 2, 1), [7.0, 9.0]);
        assert_eq!(Drift.forecast(&[NAN, 1.0, 3.0, NAN], 2, 1), [7.0, 9.0]);
        assert_eq!(Drift.forecast(&[4.0], 2, 1), [4.0, 4.0]);
    }
}
