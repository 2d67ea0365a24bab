//! Simple exponential smoothing.

use super::optimise::golden_section;

/// A fitted level.
pub(super) struct Ses {
    /// The forecast of every later value.
    pub(super) level: f64,
}

impl Ses {
    /// Fits the smoothing weight, and the first level given it, by least squares of one-step
    /// errors; `series` is not empty.
    pub(super) fn fit(series: &[f64]) -> Self {
        let alpha = golden_section(1e-4, 0.9999, |alpha| run(series, alpha).0);
        Self { level: run(series, alpha).1 }
    }
}

/// The sum of squared one-step errors with the best first level, and the last level.
///
/// Errors are linear in the first level: `error = e - l * (1 - alpha)^t`, so the best one has a
/// closed form and only the weight needs a search.
fn run(series: &[f64], alpha: f64) -> (f64, f64) {
    let keep = 1.0 - alpha;
    let first = series.first().copied().unwrap_or(0.0);
    let (mut level, mut weight) = (first, 1.0);
    let (mut squares, mut cross, mut weights) = (0.0, 0.0, 0.0);
    for value in series {
        let error = value - level;
        squares += error * error;
        cross += error * weight;
        weights += weight * weight;
        level += alpha * error;
        weight *= keep;
    }
    let shift = cross / weights.max(f64::MIN_POSITIVE);
    (squares - cross * shift, level + shift * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_by_hand() {
        // With a weight of one half, errors from the best first level l of [0, 4]:
        // -l and 4 - l/2, so l = 8/5; then the level is 8/5 / 2 = 4/5, and 4/5 + 16/5 / 2 = 12/5.
        let (squares, level) = run(&[0.0, 4.0], 0.5);
        assert!((squares - (1.6_f64.powi(2) + 3.2_f64.powi(2))).abs() < 1e-12, "{squares}");
        assert!((level - 2.4).abs() < 1e-12, "{level}");
    }

    #[test]
    fn a_jump_is_followed_and_noise_is_averaged() {
        let jump: Vec<_> = (0..40).map(|t| if t < 20 { 0.0 } else { 10.0 }).collect();
        assert!((Ses::fit(&jump).level - 10.0).abs() < 0.01);
        let noise: Vec<_> = (0..400).map(|t| if t % 2 == 0 { -1.0 } else { 1.0 }).collect();
        assert!(Ses::fit(&noise).level.abs() < 0.05);
    }
}
