//! Demand that is mostly zero, and counts (Croston, 1972).

use super::{calendar, profile::Profile, trend};
use kiln_datasets::{Frequency, draw::Draw};
use kiln_host::Rng;

/// Intermittent demand, or counts with a changing rate.
pub(crate) fn generate(rng: &mut Rng, frequency: Frequency, length: usize) -> Vec<f32> {
    // The logarithm of the rate: a season and a level, as elsewhere.
    let mut rate = vec![0.0f32; length];
    for cycle in calendar::cycles(frequency) {
        if rng.chance(0.7 * cycle.probability) {
            let strength = cycle.strength * rng.log_uniform(0.1, 0.9);
            Profile::draw(rng, cycle.period, cycle.week).add(rng, strength, &mut rate);
        }
    }
    let level = trend::level(rng, frequency, length);
    let share = rng.log_uniform(0.05, 0.8);
    rate.iter_mut().zip(level).for_each(|(rate, level)| *rate += share * level);
    if rng.chance(0.5) { counts(rng, &rate) } else { demand(rng, &rate) }
}

/// Counts of a Poisson process, or of one whose rate is itself a gamma variable.
fn counts(rng: &mut Rng, rate: &[f32]) -> Vec<f32> {
    let mean = rng.log_uniform(0.2, 100.0);
    let spread = if rng.chance(0.4) { rng.between(0.1, 0.8) } else { 0.0 };
    let count = |log: &f32| {
        let wobble = if spread > 0.0 { spread * rng.normal() } else { 0.0 };
        let rate = mean * (log + wobble).clamp(-5.0, 3.0).exp();
        rng.count(rate)
    };
    rate.iter().map(count).collect()
}

/// Demand now and then: when it comes is a coin's throw, how much has its own distribution.
fn demand(rng: &mut Rng, rate: &[f32]) -> Vec<f32> {
    let (often, size, spread) =
        (rng.log_uniform(0.03, 0.6), rng.log_uniform(1.0, 50.0), rng.between(0.0, 0.8));
    let whole = rng.chance(0.8);
    let amount = |log: &f32| {
        let probability = (often * log.clamp(-3.0, 3.0).exp()).min(0.95);
        if rng.unit() >= probability {
            return 0.0;
        }
        let amount = size * (spread * rng.normal()).exp();
        if whole { amount.round().max(1.0) } else { amount }
    };
    rate.iter().map(amount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn demand_is_mostly_zero_and_never_negative() {
        let mut rng = Seed::new(17).rng();
        let mut zeros = 0;
        for _ in 0..100 {
            let values = generate(&mut rng, Frequency::DAILY, 365);
            assert!(values.iter().all(|v| *v >= 0.0 && v.is_finite()));
            zeros += usize::from(values.iter().filter(|v| **v == 0.0).count() > 180);
        }
        assert!((20..90).contains(&zeros), "{zeros} of 100 are mostly zero");
    }
}
