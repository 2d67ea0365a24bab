//! What a portfolio would have earned that follows predicted returns.
//!
//! As in stock-specialised pretraining (SSPT, <https://arxiv.org/abs/2506.16746>): each day the `k`
//! stocks with the highest predicted return are held in equal parts until the next day. Beside it
//! stand the whole market in equal parts, bought once and held, and stocks ranked at random.
//! No costs, no risk-free rate.

use kiln_core::{Rng, Seed};
use kiln_train::results::ResultRow;
use ndarray::{ArrayView1, ArrayView2};
use rand::seq::SliceRandom;
use std::collections::BTreeMap;

/// Days of trading a year, for annual ratios.
pub const TRADING_DAYS: f64 = 252.0;

/// Random rankings that the random baseline averages over.
const RANDOM_RUNS: u64 = 100;

/// What a way of investing earned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Performance {
    /// The gain over all days as a share of the start: 0.1 for 10 %.
    pub cumulative_return: f64,
    /// The mean daily return over its standard deviation, times the root of 252. 0 without
    /// variation.
    pub sharpe: f64,
}

impl Performance {
    /// From daily returns as shares.
    pub fn of(daily: &[f64]) -> Self {
        let cumulative_return = daily.iter().map(|daily| 1.0 + daily).product::<f64>() - 1.0;
        let count = daily.len() as f64;
        if daily.len() < 2 {
            return Self { cumulative_return, sharpe: 0.0 };
        }
        let mean = daily.iter().sum::<f64>() / count;
        let variance = daily.iter().map(|day| (day - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let deviation = variance.sqrt();
        // Rounding alone lets equal returns vary by about 1e-17.
        let sharpe = if deviation > 1e-12 { mean / deviation * TRADING_DAYS.sqrt() } else { 0.0 };
        Self { cumulative_return, sharpe }
    }
}

/// Daily returns of the `top` stocks with the highest prediction, in equal parts.
///
/// `predicted` and `realised` are `[days, stocks]`, next-day returns as shares; NaN where a stock
/// is not traded, which is then not held. A day without any stock earns nothing. Ties go to the
/// stock that comes first.
pub fn top_k(
    predicted: ArrayView2<'_, f32>,
    realised: ArrayView2<'_, f32>,
    top: usize,
) -> Vec<f64> {
    let days = predicted.rows().into_iter().zip(realised.rows());
    days.map(|(predicted, realised)| {
        let mut stocks =
            traded(realised, |stock| predicted.get(stock).is_some_and(|p| !p.is_nan()));
        let score = |stock: &usize| predicted.get(*stock).copied().unwrap_or(f32::NEG_INFINITY);
        stocks.sort_by(|a, b| score(b).total_cmp(&score(a)));
        mean(realised, stocks.get(..top).unwrap_or(&stocks))
    })
    .collect()
}

/// The whole market, bought in equal parts on the first day and held: `[days]` daily returns.
pub fn buy_and_hold(realised: ArrayView2<'_, f32>) -> Vec<f64> {
    let mut worth = vec![1.0; realised.ncols()];
    let days = realised.rows().into_iter();
    days.map(|day| {
        let before: f64 = worth.iter().sum();
        for (worth, daily) in worth.iter_mut().zip(day).filter(|(_, daily)| !daily.is_nan()) {
            *worth *= 1.0 + f64::from(*daily);
        }
        if before > 0.0 { worth.iter().sum::<f64>() / before - 1.0 } else { 0.0 }
    })
    .collect()
}

/// The mean performance of portfolios of `top` stocks drawn again each day.
pub fn random(realised: ArrayView2<'_, f32>, top: usize, seed: Seed) -> Performance {
    let run = |number: u64| {
        let mut rng: Rng = seed.part("portfolio").at(number).rng();
        let days = realised.rows().into_iter().map(|day| {
            let mut stocks = traded(day, |_| true);
            stocks.shuffle(&mut rng);
            mean(day, stocks.get(..top).unwrap_or(&stocks))
        });
        Performance::of(&days.collect::<Vec<_>>())
    };
    let runs = RANDOM_RUNS as f64;
    (0..RANDOM_RUNS).map(run).fold(Performance::default(), |sum, one| Performance {
        cumulative_return: sum.cumulative_return + one.cumulative_return / runs,
        sharpe: sum.sharpe + one.sharpe / runs,
    })
}

/// Rows for `results.json`: `cumulative_return` and `sharpe` beside `buy-and-hold` and `random`.
///
/// `predicted` and `realised` as for [`top_k`].
pub fn evaluate(
    dataset: &str,
    split: &str,
    predicted: ArrayView2<'_, f32>,
    realised: ArrayView2<'_, f32>,
    top: usize,
    seed: Seed,
) -> Vec<ResultRow> {
    let model = Performance::of(&top_k(predicted, realised, top));
    let market = Performance::of(&buy_and_hold(realised));
    let random = random(realised, top, seed);
    let row = |metric: &str, of: fn(&Performance) -> f64| ResultRow {
        task: format!("portfolio-top-{top}"),
        dataset: dataset.into(),
        split: split.into(),
        metric: metric.into(),
        value: of(&model),
        baselines: BTreeMap::from([
            ("buy-and-hold".into(), of(&market)),
            ("random".into(), of(&random)),
        ]),
    };
    vec![
        row("cumulative_return", |performance| performance.cumulative_return),
        row("sharpe", |performance| performance.sharpe),
    ]
}

/// Stocks with a return that day, of those wanted.
fn traded(day: ArrayView1<'_, f32>, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let stocks = day.iter().enumerate();
    stocks
        .filter(|(stock, daily)| !daily.is_nan() && wanted(*stock))
        .map(|(stock, _)| stock)
        .collect()
}

/// The mean return of some stocks; 0 for none.
fn mean(day: ArrayView1<'_, f32>, stocks: &[usize]) -> f64 {
    let held = stocks.iter().filter_map(|stock| day.get(*stock)).map(|daily| f64::from(*daily));
    held.sum::<f64>() / stocks.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    const NAN: f32 = f32::NAN;

    fn close(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near && found.len() == expected.len(), "{found:?} {expected:?}");
    }

    #[test]
    fn performance_by_hand() {
        let two = Performance::of(&[0.1, -0.05]);
        assert!((two.cumulative_return - 0.045).abs() < 1e-12);
        // Mean 0.025; deviation 0.15 / sqrt 2.
        let expected = 0.025 / (0.15 / 2.0_f64.sqrt()) * 252.0_f64.sqrt();
        assert!((two.sharpe - expected).abs() < 1e-9);
        assert_eq!(Performance::of(&[0.01; 5]).sharpe, 0.0, "no variation");
        assert_eq!(Performance::of(&[]), Performance::default());
    }

    #[test]
    fn the_highest_predictions_are_held() {
        let predicted = array![[0.3, 0.1, 0.2], [NAN, 0.1, -0.2], [0.0, 0.0, 0.0]];
        let realised = array![[0.02, 0.5, 0.04], [0.9, 0.1, 0.3], [NAN, NAN, NAN]];
        close(&top_k(predicted.view(), realised.view(), 2), &[0.03, 0.2, 0.0]);
        close(&top_k(predicted.view(), realised.view(), 1), &[0.02, 0.1, 0.0]);
    }

    #[test]
    fn held_stocks_grow_in_weight() {
        let realised = array![[1.0, 0.0], [0.3, 0.0], [NAN, 0.1]];
        // Worth 1+1, 2+1, 2.6+1, 2.6+1.1.
        close(&buy_and_hold(realised.view()), &[0.5, 0.2, 0.1 / 3.6]);
    }

    #[test]
    fn random_ranking_of_all_stocks_is_the_market_and_repeats() {
        let realised = array![[0.1, 0.3], [0.0, -0.2]];
        let all = random(realised.view(), 2, Seed::new(1));
        assert!((all.cumulative_return - (1.2 * 0.9 - 1.0)).abs() < 1e-6);
        let one = random(realised.view(), 1, Seed::new(1));
        assert_eq!(one, random(realised.view(), 1, Seed::new(1)));
        assert!(one.cumulative_return > -0.12 && one.cumulative_return < 0.3);
    }

    #[test]
    fn foresight_beats_both() {
        let realised = array![[0.1, -0.1, 0.0], [-0.1, 0.05, 0.0], [0.0, 0.0, 0.02]];
        let rows = evaluate("prices", "test", realised.view(), realised.view(), 1, Seed::new(2));
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert!(row.baselines.values().all(|baseline| row.value > *baseline), "{row:?}");
            assert_eq!(row.task, "portfolio-top-1");
        }
    }
}
