//! What happens to series: shifts, other variances, anomalies, outages, meters that saturate.

use super::standardize::standardize;
use kiln_datasets::draw::Draw;
use kiln_host::Rng;

/// Changes a series of about unit spread in one to three of these ways.
pub(crate) fn disturb(rng: &mut Rng, values: &mut [f32]) {
    if values.is_empty() {
        return;
    }
    standardize(values);
    for _ in 0..1 + rng.below(3) {
        match rng.below(7) {
            0 => shift(rng, values),
            1 => rescale(rng, values),
            2 => spikes(rng, values),
            3 => outage(rng, values),
            4 => switch(rng, values),
            5 => saturate(rng, values),
            _ => ramp(rng, values),
        }
    }
}

/// The level steps up or down and stays there.
fn shift(rng: &mut Rng, values: &mut [f32]) {
    for _ in 0..1 + rng.below(3) {
        let (begin, size) = (rng.below(values.len()), 2.0 * rng.normal());
        values.iter_mut().skip(begin).for_each(|value| *value += size);
    }
}

/// Swings become larger or smaller.
fn rescale(rng: &mut Rng, values: &mut [f32]) {
    let (begin, factor) = (rng.below(values.len()), rng.log_uniform(0.25, 3.0));
    values.iter_mut().skip(begin).for_each(|value| *value *= factor);
}

/// Single rows, or a few together, far off.
fn spikes(rng: &mut Rng, values: &mut [f32]) {
    let (rate, size) = (rng.log_uniform(0.001, 0.02), rng.log_uniform(2.0, 8.0));
    let (keep, sign, both) = (rng.between(0.0, 0.7), rng.sign(), rng.chance(0.4));
    let mut height = 0.0;
    for value in values {
        if rng.unit() < rate {
            height = size * (0.5 + rng.exponential()) * if both { rng.sign() } else { sign };
        }
        *value += height;
        height = if height.abs() > 0.05 { height * keep } else { 0.0 };
    }
}

/// Zero for a while: a machine off, a shop closed.
fn outage(rng: &mut Rng, values: &mut [f32]) {
    let off = values.iter().copied().fold(f32::INFINITY, f32::min) - rng.log_uniform(0.1, 2.0);
    for _ in 0..1 + rng.below(3) {
        let length = (rng.log_uniform(0.003, 0.1) * values.len() as f32) as usize + 1;
        let begin = rng.below(values.len());
        values.iter_mut().skip(begin).take(length).for_each(|value| *value = off);
    }
}

/// Two states that take turns, as a hidden Markov chain.
fn switch(rng: &mut Rng, values: &mut [f32]) {
    let stay = rng.log_uniform(8.0, 0.4 * values.len().max(40) as f32);
    let (mut on, size, factor) = (rng.chance(0.5), 1.5 * rng.normal(), rng.log_uniform(0.3, 1.5));
    for value in values {
        if rng.unit() * stay < 1.0 {
            on = !on;
        }
        if on {
            *value = factor * *value + size;
        }
    }
}

/// A limit is reached: a full store, a closed valve.
fn saturate(rng: &mut Rng, values: &mut [f32]) {
    let limit = rng.between(0.3, 1.8);
    if rng.chance(0.5) {
        values.iter_mut().for_each(|value| *value = value.min(limit));
    } else {
        values.iter_mut().for_each(|value| *value = value.max(-limit));
    }
}

/// A drift that begins somewhere.
fn ramp(rng: &mut Rng, values: &mut [f32]) {
    let begin = rng.below(values.len());
    let slope = 3.0 * rng.normal() / values.len() as f32;
    for (row, value) in values.iter_mut().skip(begin).enumerate() {
        *value += slope * row as f32;
    }
}

/// Rounds to steps: a meter's resolution, or counts.
pub(crate) fn round_to(values: &mut [f32], step: f32) {
    if step > 0.0 {
        values.iter_mut().for_each(|value| *value = (*value / step).round() * step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn nothing_breaks() {
        let mut rng = Seed::new(16).rng();
        for length in [0, 1, 3, 300] {
            for _ in 0..100 {
                let mut values: Vec<f32> = (0..length).map(|t| (t as f32).sin()).collect();
                disturb(&mut rng, &mut values);
                assert!(values.iter().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn rounded_values_are_multiples() {
        let mut values = [0.12, 0.38, -0.9];
        round_to(&mut values, 0.25);
        assert_eq!(values, [0.0, 0.5, -1.0]);
        round_to(&mut values, 0.0);
        assert_eq!(values, [0.0, 0.5, -1.0]);
    }
}
