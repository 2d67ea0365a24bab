//! Correlation of two lists of numbers: Pearson, Spearman, Kendall.

use crate::error::{MetricError, same_length};

/// Pearson's correlation, from -1 to 1. `None` below two pairs, where one side is constant, or
/// where a number is not finite.
///
/// # Errors
/// When the lists are of different lengths.
pub fn pearson(first: &[f64], second: &[f64]) -> Result<Option<f64>, MetricError> {
    same_length("numbers", first.len(), second.len())?;
    let count = first.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_first, mean_second) = (mean(first), mean(second));
    let (mut both, mut own, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in first.iter().zip(second) {
        let (a, b) = (a - mean_first, b - mean_second);
        both += a * b;
        own += a * a;
        other += b * b;
    }
    // A product of roots, not a root of a product: that might overflow.
    let correlation = both / (own.sqrt() * other.sqrt());
    Ok(correlation.is_finite().then(|| correlation.clamp(-1.0, 1.0)))
}

/// Spearman's correlation: Pearson's of the ranks; equal numbers share the mean of theirs.
///
/// # Errors
/// When the lists are of different lengths.
pub fn spearman(first: &[f64], second: &[f64]) -> Result<Option<f64>, MetricError> {
    if first.iter().chain(second).any(|value| value.is_nan()) {
        return same_length("numbers", first.len(), second.len()).map(|()| None);
    }
    pearson(&ranks(first), &ranks(second))
}

/// Kendall's correlation, τ-b: pairs in the same order less those in the other, of all that are in
/// an order. `None` below two numbers, or where one side is constant.
///
/// # Errors
/// When the lists are of different lengths.
pub fn kendall(first: &[f64], second: &[f64]) -> Result<Option<f64>, MetricError> {
    same_length("numbers", first.len(), second.len())?;
    let (mut agree, mut own, mut other) = (0.0, 0.0, 0.0);
    for at in 0..first.len() {
        for before in 0..at {
            let side = |values: &[f64]| match values[before].partial_cmp(&values[at]) {
                Some(order) => f64::from(order as i8),
                None => f64::NAN,
            };
            let (a, b) = (side(first), side(second));
            agree += a * b;
            own += a * a;
            other += b * b;
        }
    }
    let correlation = agree / (f64::sqrt(own) * f64::sqrt(other));
    Ok(correlation.is_finite().then_some(correlation))
}

/// The rank of each number, from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|place| ranks[*place] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;
    use proptest::prelude::*;

    #[test]
    fn as_scipy() {
        let (x, y) = ([1.0, 2.0, 2.0, 3.0, 5.5, 0.0], [2.0, 1.0, 4.0, 4.0, 9.0, -1.0]);
        assert!(close(pearson(&x, &y).unwrap().unwrap(), 0.9482227424932007));
        assert!(close(spearman(&x, &y).unwrap().unwrap(), 0.8676470588235294));
        let (one, other) = ([12.0, 2.0, 1.0, 12.0, 2.0], [1.0, 4.0, 7.0, 1.0, 0.0]);
        assert!(close(kendall(&one, &other).unwrap().unwrap(), -0.47140452079103173));
        assert!(close(kendall(&[0.0, 1.0, 2.0], &[0.0, 2.0, 1.0]).unwrap().unwrap(), 1.0 / 3.0));
        assert_eq!(ranks(&x), [2.0, 3.5, 3.5, 5.0, 6.0, 1.0]);
    }

    #[test]
    fn what_has_none() {
        assert_eq!(pearson(&[], &[]), Ok(None));
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), Ok(None));
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), Ok(None));
        assert_eq!(kendall(&[1.0], &[1.0]), Ok(None));
        assert!(pearson(&[1.0], &[]).is_err() && kendall(&[1.0], &[]).is_err());
    }

    proptest! {
        #[test]
        fn ranks_ignore_the_scale(values in prop::collection::vec(-1e3_f64..1e3, 3..20)) {
            let cubes: Vec<f64> = values.iter().map(|v| v.powi(3)).collect();
            if let Some(correlation) = spearman(&values, &cubes).unwrap() {
                prop_assert!(close(correlation, 1.0));
            }
        }
    }
}
