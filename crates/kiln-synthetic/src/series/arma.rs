//! Noise and autoregressions: white, heavy-tailed, ARMA, near unit root, GARCH.

use super::standardize::standardize;
use kiln_datasets::draw::Draw;
use kiln_host::Rng;

/// Noise of about unit variance, of a kind drawn at random.
pub(crate) fn noise(rng: &mut Rng, length: usize) -> Vec<f32> {
    let mut values: Vec<f32> = match rng.weighted(&[0.42, 0.1, 0.08, 0.25, 0.1, 0.05]) {
        0 => white(rng, length),
        // Student's t: a normal over the root of a chi-square, drawn as a sum of exponentials.
        1 => {
            let halves = 2 + rng.below(3);
            let freedom = 2.0 * halves as f32;
            let scale = ((freedom - 2.0) / freedom).sqrt();
            let draw = |rng: &mut Rng| {
                let chi: f32 = (0..halves).map(|_| 2.0 * rng.exponential()).sum();
                scale * rng.normal() * (freedom / chi.max(1e-3)).sqrt()
            };
            (0..length).map(|_| draw(rng)).collect()
        }
        2 => (0..length).map(|_| rng.sign() * rng.exponential() * 0.707).collect(),
        3 => {
            let keep = 1.0 - rng.log_uniform(0.02, 0.7);
            ornstein_uhlenbeck(rng, length, -1.0 / keep.ln())
        }
        4 => arma(rng, length),
        _ => garch(rng, length),
    };
    // Errors that are larger at some times than at others.
    if rng.chance(0.15) {
        let memory = rng.log_uniform(5.0, length.max(6) as f32);
        let (envelope, depth) = (ornstein_uhlenbeck(rng, length, memory), rng.between(0.2, 0.8));
        for (value, envelope) in values.iter_mut().zip(envelope) {
            *value *= (depth * envelope).clamp(-3.0, 2.0).exp();
        }
    }
    values
}

/// White noise.
pub(crate) fn white(rng: &mut Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.normal()).collect()
}

/// An ARMA process with random poles inside the unit circle, of unit variance.
///
/// Poles come as up to two complex pairs and a real one, each a section of order two or one, so
/// that it is stable by construction.
pub(crate) fn arma(rng: &mut Rng, length: usize) -> Vec<f32> {
    let burn_in = 64;
    let mut values = white(rng, length + burn_in);
    for _ in 0..rng.below(3) {
        let radius = 1.0 - rng.log_uniform(0.003, 0.6);
        let angle = std::f32::consts::TAU / rng.log_uniform(2.5, 120.0);
        let (a, b) = (2.0 * radius * angle.cos(), -radius * radius);
        let (mut last, mut before) = (0.0, 0.0);
        for value in &mut values {
            let next = a * last + b * before + *value;
            (before, last) = (last, next);
            *value = next;
        }
    }
    if rng.chance(0.7) {
        let keep = (1.0 - rng.log_uniform(0.002, 0.9)) * if rng.chance(0.15) { -1.0 } else { 1.0 };
        let mut last = 0.0;
        for value in &mut values {
            last = keep * last + *value;
            *value = last;
        }
    }
    if rng.chance(0.4) {
        let (first, second) = (rng.between(-0.9, 0.9), rng.between(-0.5, 0.5));
        let (mut last, mut before) = (0.0, 0.0);
        for value in &mut values {
            let shock = *value;
            *value += first * last + second * before;
            (before, last) = (last, shock);
        }
    }
    values.drain(..burn_in);
    standardize(&mut values);
    values
}

/// GARCH(1,1) returns of unit variance: calm and wild spells follow each other
/// (Bollerslev, 1986).
pub(crate) fn garch(rng: &mut Rng, length: usize) -> Vec<f32> {
    let news = rng.between(0.05, 0.25);
    let memory = rng.between(0.6, 0.98 - news);
    let base = 1.0 - news - memory;
    let mut variance = 1.0f32;
    (0..length)
        .map(|_| {
            let value = variance.sqrt() * rng.normal();
            variance = base + news * value * value + memory * variance;
            value
        })
        .collect()
}

/// A series that is an autoregression: ARMA, near unit root, or a walk of GARCH returns.
pub(crate) fn generate(rng: &mut Rng, length: usize) -> Vec<f32> {
    match rng.weighted(&[0.5, 0.3, 0.2]) {
        0 => arma(rng, length),
        1 => {
            let memory = rng.log_uniform(20.0, 600.0);
            let mut values = ornstein_uhlenbeck(rng, length, memory);
            let share = rng.log_uniform(0.01, 0.3);
            let noise = noise(rng, length);
            values.iter_mut().zip(noise).for_each(|(value, noise)| *value += share * noise);
            values
        }
        _ => {
            let step = rng.log_uniform(0.002, 0.03);
            let drift = 0.05 * step * rng.normal();
            let mut level = 0.0f32;
            let returns = garch(rng, length);
            let price = |value: f32| {
                level = (level + drift + step * value).clamp(-6.0, 6.0);
                level.exp()
            };
            returns.into_iter().map(price).collect()
        }
    }
}

/// Ornstein-Uhlenbeck process with variance 1, a stationary AR(1) that forgets in about `memory`
/// rows: weather.
pub(crate) fn ornstein_uhlenbeck(rng: &mut Rng, length: usize, memory: f32) -> Vec<f32> {
    let keep = (-1.0 / memory.max(0.1)).exp();
    let step = (1.0 - keep * keep).sqrt();
    let mut level = rng.normal();
    (0..length)
        .map(|_| {
            level = keep * level + step * rng.normal();
            level
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn arma_is_stable_whatever_is_drawn() {
        let mut rng = Seed::new(5).rng();
        for _ in 0..200 {
            let values = arma(&mut rng, 300);
            assert_eq!(values.len(), 300);
            assert!(values.iter().all(|v| v.is_finite() && v.abs() < 20.0));
        }
    }

    #[test]
    fn noise_has_about_unit_variance() {
        let mut rng = Seed::new(6).rng();
        let mut total = 0.0f64;
        for _ in 0..300 {
            let values = noise(&mut rng, 400);
            total += values.iter().map(|v| f64::from(v * v)).sum::<f64>() / 400.0;
        }
        assert!((0.7..2.0).contains(&(total / 300.0)), "{}", total / 300.0);
    }

    #[test]
    fn garch_clusters() {
        let mut rng = Seed::new(7).rng();
        let mut clustered = 0.0f32;
        for _ in 0..40 {
            let squares: Vec<f32> =
                garch(&mut rng, 4000).iter().map(|v| (v * v).min(9.0)).collect();
            let mean = squares.iter().sum::<f32>() / 4000.0;
            let product: f32 = squares.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
            clustered += product / 4000.0;
        }
        assert!(clustered / 40.0 > 0.05, "squares of neighbours go together: {clustered}");
    }

    #[test]
    fn a_reverting_level_forgets_at_its_pace() {
        let mut rng = Seed::new(3).rng();
        let values = ornstein_uhlenbeck(&mut rng, 200_000, 20.0);
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        let lagged: f32 = values.windows(21).map(|w| w[0] * w[20]).sum();
        let correlation = lagged / (values.len() - 20) as f32 / variance;
        assert!((variance - 1.0).abs() < 0.1, "{variance}");
        assert!((correlation - (-1.0f32).exp()).abs() < 0.06, "{correlation}");
    }
}
