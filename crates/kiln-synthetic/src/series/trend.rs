//! Levels that move: trends, random walks, mean-reverting weather.
//!
//! All are scaled so that their spread over a window is about 1, by what the process is expected
//! to do and not by what it did: the future of a level must not be felt in its past.

use super::{arma::ornstein_uhlenbeck, calendar::pace};
use kiln_datasets::{Frequency, draw::Draw};
use kiln_host::Rng;

/// A trend that follows a curve: linear, exponential, damped, logistic, quadratic, or in pieces.
pub(crate) fn curve(rng: &mut Rng, length: usize) -> Vec<f32> {
    let n = length.max(1) as f32;
    let sign = rng.sign();
    let along = |f: &dyn Fn(f32) -> f32| (0..length).map(|t| sign * f(t as f32 / n)).collect();
    // Scaled to rise by 3.5, which has about the spread of 1 when linear.
    const RISE: f32 = 3.5;
    match rng.below(6) {
        0 => along(&|x| RISE * x),
        1 => {
            let rate = rng.between(0.5, 4.0);
            along(&|x| RISE * (rate * x).exp_m1() / rate.exp_m1())
        }
        2 => {
            let rate = rng.between(1.0, 8.0);
            along(&|x| -RISE * (-rate * x).exp_m1())
        }
        3 => {
            let (rate, middle) = (rng.between(4.0, 30.0), rng.between(-0.1, 1.1));
            along(&|x| RISE / (1.0 + (-rate * (x - middle)).exp()))
        }
        4 => {
            let turn = rng.between(-0.3, 1.3);
            along(&|x| 2.0 * RISE * (x - turn) * (x - turn))
        }
        _ => pieces(rng, length),
    }
}

/// Straight pieces that meet at random change points, as a Prophet trend.
fn pieces(rng: &mut Rng, length: usize) -> Vec<f32> {
    let changes = rng.between(1.0, 8.0);
    let rate = changes / length.max(1) as f32;
    let (mut slope, mut level) = (rng.normal(), 0.0);
    let step = 3.5 / length.max(1) as f32;
    (0..length)
        .map(|_| {
            if rng.unit() < rate {
                slope += 1.5 * rng.normal();
            }
            level += slope * step;
            level
        })
        .collect()
}

/// A random walk whose steps add up to 1 over the window.
pub(crate) fn walk(rng: &mut Rng, length: usize) -> Vec<f32> {
    let step = (length.max(1) as f32).sqrt().recip();
    let heavy = rng.chance(0.2);
    let mut level = 0.0;
    (0..length)
        .map(|_| {
            let mut shock = rng.normal();
            if heavy {
                shock *= rng.exponential();
            }
            level += step * shock;
            level
        })
        .collect()
}

/// A local linear trend: level and slope both walk, the slope may fade, as in exponential
/// smoothing (Hyndman et al., "Forecasting with Exponential Smoothing", 2008).
pub(crate) fn local_linear(rng: &mut Rng, length: usize) -> Vec<f32> {
    let n = length.max(1) as f32;
    let damping = if rng.chance(0.5) { 1.0 } else { 1.0 - rng.log_uniform(0.002, 0.2) };
    // A slope that turns about once in the memory of its damping, or in the window.
    let memory = (1.0 / (1.0 - damping).max(1.0 / n)).min(n);
    let slope_step = rng.log_uniform(0.1, 1.0) / (memory * memory * n).sqrt();
    let level_step = rng.log_uniform(0.05, 1.0) / n.sqrt();
    let (mut level, mut slope) = (0.0, slope_step * memory.sqrt() * rng.normal());
    (0..length)
        .map(|_| {
            slope = damping * slope + slope_step * rng.normal();
            level += slope + level_step * rng.normal();
            level
        })
        .collect()
}

/// A stationary AR(2) with a double root and variance 1: a level without corners, as the
/// temperature of a large body.
fn smooth_ornstein_uhlenbeck(rng: &mut Rng, length: usize, memory: f32) -> Vec<f32> {
    let root = f64::from((-2.0 / memory.max(0.5)).exp());
    let square = root * root;
    // Variance and first autocorrelation of such a process; the start is drawn from them.
    let step = ((1.0 - square).powi(3) / (1.0 + square)).sqrt();
    let correlation = 2.0 * root / (1.0 + square);
    let mut last = f64::from(rng.normal());
    let mut before = correlation * last
        + (1.0 - correlation * correlation).max(0.0).sqrt() * f64::from(rng.normal());
    (0..length)
        .map(|_| {
            let next = 2.0 * root * last - square * before + step * f64::from(rng.normal());
            (before, last) = (last, next);
            next as f32
        })
        .collect()
}

/// A slow level for a series of this frequency.
pub(crate) fn level(rng: &mut Rng, frequency: Frequency, length: usize) -> Vec<f32> {
    let pace = pace(frequency);
    let memory = rng.log_uniform(0.3 * pace, 40.0 * pace);
    match rng.weighted(&[0.34, 0.16, 0.2, 0.12, 0.18]) {
        0 => ornstein_uhlenbeck(rng, length, memory),
        1 => smooth_ornstein_uhlenbeck(rng, length, memory),
        2 => walk(rng, length),
        3 => local_linear(rng, length),
        _ => curve(rng, length),
    }
}

/// A series that is mostly trend: a curve or a walk, a second one, and a little noise.
pub(crate) fn generate(rng: &mut Rng, frequency: Frequency, length: usize) -> Vec<f32> {
    let mut values = match rng.weighted(&[0.3, 0.3, 0.4]) {
        0 => curve(rng, length),
        1 => walk(rng, length),
        _ => local_linear(rng, length),
    };
    if rng.chance(0.5) {
        let (other, share) = (level(rng, frequency, length), rng.log_uniform(0.05, 0.6));
        values.iter_mut().zip(other).for_each(|(value, other)| *value += share * other);
    }
    let noise = super::arma::noise(rng, length);
    let share = rng.log_uniform(0.003, 0.3);
    values.iter_mut().zip(noise).for_each(|(value, noise)| *value += share * noise);
    if rng.chance(0.4) {
        // Prices, sales and populations move by percentages.
        let rate = rng.log_uniform(0.05, 0.8);
        values.iter_mut().for_each(|value| *value = (rate * *value).clamp(-6.0, 6.0).exp());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn a_smooth_level_is_stationary_too() {
        let mut rng = Seed::new(8).rng();
        let at = |rng: &mut Rng, t: usize| smooth_ornstein_uhlenbeck(rng, t + 1, 30.0)[t];
        for t in [0, 5, 100] {
            let variance = (0..3000).map(|_| at(&mut rng, t).powi(2)).sum::<f32>() / 3000.0;
            assert!((variance - 1.0).abs() < 0.12, "{variance} at {t}");
        }
    }

    #[test]
    fn levels_spread_about_one() {
        let mut rng = Seed::new(4).rng();
        let mut spreads = Vec::new();
        for _ in 0..400 {
            let mut values = level(&mut rng, Frequency::HOURLY, 640);
            assert!(values.iter().all(|v| v.is_finite() && v.abs() < 100.0));
            let mean = values.iter().sum::<f32>() / 640.0;
            values.iter_mut().for_each(|v| *v -= mean);
            spreads.push((values.iter().map(|v| v * v).sum::<f32>() / 640.0).sqrt());
        }
        spreads.sort_by(f32::total_cmp);
        assert!((0.2..1.5).contains(&spreads[200]), "median {}", spreads[200]);
        assert!(spreads[390] < 6.0, "98th of 100 {}", spreads[390]);
    }
}
