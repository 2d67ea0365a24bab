//! How sure a corpus's number is: the percentile bootstrap over utterances, Bisani and Ney 2004,
//! <https://doi.org/10.1109/ICASSP.2004.1326009>.

use kiln_core::Seed;
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

/// The interval that holds `level` of what `measure` says of corpora drawn from this one with
/// replacement, `draws` times.
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

#[cfg(test)]
mod tests {
    use super::*;

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
