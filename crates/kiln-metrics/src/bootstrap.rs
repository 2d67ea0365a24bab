//! Bootstrap confidence intervals: the percentile bootstrap over utterances or other examples,
//! Bisani and Ney 2004, <https://doi.org/10.1109/ICASSP.2004.1326009>.

use kiln_host::Seed;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Percentile bootstrap: the confidence interval that holds `level` of what `measure` gives for
/// `draws` corpora, each drawn from this one with replacement.
///
/// `None` when there are no items, no draws, or `measure` never has an answer. A comparison of two
/// systems is an item that holds the counts of both and a measure that subtracts.
pub fn bootstrap<T>(
    items: &[T],
    measure: impl Fn(&mut dyn Iterator<Item = &T>) -> Option<f64>,
    draws: usize,
    level: f64,
    seed: Seed,
) -> Option<Interval> {
    let draw = |position: usize| {
        let mut rng = seed.part("bootstrap").at(position as u64).rng();
        measure(&mut items.iter().map(|_| &items[rng.random_range(..items.len())]))
    };
    let mut measured: Vec<f64> = (0..draws).filter_map(draw).collect();
    measured.sort_by(f64::total_cmp);
    let last = measured.len().checked_sub(1)?;
    let at = |share: f64| measured[(share.clamp(0.0, 1.0) * last as f64).round() as usize];
    Some(Interval { low: at((1.0 - level) / 2.0), high: at((1.0 + level) / 2.0) })
}

/// Bootstrap confidence interval of a mean: of accuracies, F1 scores or losses of single examples.
///
/// `None` when there are no values or no draws.
pub fn bootstrap_mean(values: &[f64], draws: usize, level: f64, seed: Seed) -> Option<Interval> {
    let mean = |drawn: &mut dyn Iterator<Item = &f64>| {
        let (sum, count) =
            drawn.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
        (count > 0).then(|| sum / count as f64)
    };
    bootstrap(values, mean, draws, level, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_coins() {
        // The standard error of 400 fair coins is 0.025: 95 % lie within 0.049 of a half.
        let coins: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let interval = bootstrap_mean(&coins, 2000, 0.95, Seed::new(3)).unwrap();
        assert!((interval.low - 0.451).abs() < 0.008, "{interval:?}");
        assert!((interval.high - 0.549).abs() < 0.008, "{interval:?}");
        assert_eq!(bootstrap_mean(&[], 10, 0.95, Seed::new(3)), None);
    }

    fn mean(drawn: &mut dyn Iterator<Item = &f64>) -> Option<f64> {
        let drawn: Vec<_> = drawn.collect();
        Some(drawn.iter().copied().sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn nothing_and_constants() {
        let seed = Seed::new(1);
        assert_eq!(bootstrap(&[0.0; 0], |_| None, 10, 0.95, seed), None);
        assert_eq!(bootstrap(&[1.0], mean, 0, 0.95, seed), None);
        let interval = bootstrap(&[2.0; 5], mean, 10, 0.95, seed);
        assert_eq!(interval, Some(Interval { low: 2.0, high: 2.0 }));
    }

    #[test]
    fn wider_for_a_higher_level() {
        let items: Vec<f64> = (0..50).map(f64::from).collect();
        let [low, high] =
            [0.5, 0.95].map(|level| bootstrap(&items, mean, 500, level, Seed::new(2)));
        let (narrow, wide) = (low.unwrap(), high.unwrap());
        assert!(wide.low < narrow.low && narrow.low < 24.5);
        assert!(24.5 < narrow.high && narrow.high < wide.high);
    }
}
