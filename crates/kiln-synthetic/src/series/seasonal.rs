//! What most real series look like: daily, weekly or yearly profiles on a slowly moving level,
//! under noise, with any ratio between the three.
//!
//! The best forecast of such a series is a shrunk mean of past profiles on a level that is partly
//! the last one and partly the long mean; how much of each is what a model learns here.

use super::{arma, calendar, profile::Profile, standardize::standardize, trend};
use kiln_datasets::{Frequency, draw::Draw};
use kiln_host::Rng;

/// Rows of a window, in the units that all parts share: the profile's standard deviation.
pub(crate) fn generate(rng: &mut Rng, frequency: Frequency, length: usize) -> Vec<f32> {
    let mut season = season(rng, frequency, length);
    let dominant = matches!(frequency, Frequency::Seconds(_) | Frequency::Unknown);
    // Sub-daily series are mostly profile, the slower ones mostly level.
    let level_share =
        if dominant { rng.log_uniform(0.06, 4.0) } else { rng.log_uniform(0.2, 12.0) };
    let noise_share =
        if dominant { rng.log_uniform(0.03, 1.6) } else { rng.log_uniform(0.02, 1.2) };

    let mut level = trend::level(rng, frequency, length);
    if rng.chance(0.35) {
        // Weather within the day on a drift over weeks: levels have more than one pace.
        let (other, share) = (trend::level(rng, frequency, length), rng.log_uniform(0.1, 0.8));
        level.iter_mut().zip(other).for_each(|(level, other)| *level += share * other);
    }
    let mut noise = arma::noise(rng, length);

    if rng.chance(0.2) {
        // Larger profiles at higher levels.
        let depth = rng.between(0.1, 0.6);
        let swing = |level: &f32| (1.0 + depth * level).clamp(0.1, 3.0);
        season.iter_mut().zip(&level).for_each(|(season, level)| *season *= swing(level));
    }
    if rng.chance(0.25) {
        // Louder by day than by night.
        let depth = rng.between(0.1, 0.7);
        let loud = |season: &f32| (depth * season).clamp(-2.0, 1.5).exp();
        noise.iter_mut().zip(&season).for_each(|(noise, season)| *noise *= loud(season));
    }
    let mut values = season;
    for ((value, level), noise) in values.iter_mut().zip(level).zip(noise) {
        *value += level_share * level + noise_share * noise;
    }
    shape(rng, &mut values);
    values
}

/// The cycles of a frequency together, about unit variance.
fn season(rng: &mut Rng, frequency: Frequency, length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    let cycles = calendar::cycles(frequency);
    for cycle in &cycles {
        if rng.chance(cycle.probability) {
            let strength = cycle.strength * rng.log_uniform(0.4, 1.6);
            Profile::draw(rng, cycle.period, cycle.week).add(rng, strength, &mut values);
        }
    }
    // Where the calendar gives none, and sometimes beside it: a period of its own.
    if rng.chance(if cycles.is_empty() { 0.75 } else { 0.04 }) {
        let period = rng.log_uniform(3.5, (length as f32 / 3.0).max(4.0));
        let week = rng.chance(0.2);
        Profile::draw(rng, period, week).add(rng, 1.0, &mut values);
    }
    values
}

/// Makes the sum what a meter would show: positive, multiplicative, saturated.
fn shape(rng: &mut Rng, values: &mut [f32]) {
    match rng.weighted(&[0.66, 0.2, 0.06, 0.04, 0.04]) {
        0 => {}
        1 => {
            // Parts multiply: loads, traffic, sales.
            standardize(values);
            let rate = rng.log_uniform(0.1, 0.9);
            values.iter_mut().for_each(|value| *value = (rate * *value).clamp(-5.0, 5.0).exp());
        }
        2 => {
            // Nothing is sold, or shines, below zero.
            standardize(values);
            let floor = rng.between(-1.0, 0.3);
            values.iter_mut().for_each(|value| *value = value.max(floor));
        }
        3 => {
            standardize(values);
            let ceiling = rng.between(0.3, 1.3);
            values.iter_mut().for_each(|value| *value = value.min(ceiling));
        }
        _ => {
            // Shares and occupancies stay between their bounds.
            standardize(values);
            let rate = rng.between(0.7, 2.0);
            values.iter_mut().for_each(|value| *value = (rate * *value).tanh());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    /// The mean autocorrelation at `lag` of many hourly windows.
    fn autocorrelation(lag: usize) -> f32 {
        let mut rng = Seed::new(11).rng();
        let total: f32 = (0..200)
            .map(|_| {
                let mut values = generate(&mut rng, Frequency::HOURLY, 480);
                standardize(&mut values);
                values.iter().zip(&values[lag..]).map(|(a, b)| a * b).sum::<f32>() / 480.0
            })
            .sum();
        total / 200.0
    }

    #[test]
    fn hourly_series_repeat_daily() {
        let (half, day) = (autocorrelation(12), autocorrelation(24));
        assert!(day > half + 0.2, "{day} a day apart, {half} half a day");
    }

    #[test]
    fn every_frequency_is_finite() {
        let mut rng = Seed::new(12).rng();
        for frequency in [
            Frequency::Unknown,
            Frequency::Seconds(60),
            Frequency::DAILY,
            Frequency::WEEKLY,
            Frequency::MONTHLY,
            Frequency::QUARTERLY,
            Frequency::YEARLY,
        ] {
            for length in [0, 1, 2, 30, 300] {
                let values = generate(&mut rng, frequency, length);
                assert_eq!(values.len(), length);
                assert!(values.iter().all(|v| v.is_finite()), "{frequency} {length}");
            }
        }
    }
}
