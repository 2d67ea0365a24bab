//! The shape of one cycle, and how it changes from one to the next.

use super::standardize::standardize;
use kiln_datasets::draw::Draw;
use kiln_host::Rng;
use std::f32::consts::TAU;

/// Places at which a shape is known; between them it is interpolated.
const KNOTS: usize = 48;

/// A repeating shape.
pub(crate) struct Profile {
    period: f32,
    /// Where in the cycle the first row is, 0 to 1.
    phase: f32,
    /// Two shapes, and how the days of a week use them: `(strength, shift, share of the second)`.
    shapes: [[f32; KNOTS]; 2],
    days: [(f32, f32, f32); 7],
    /// Whether the shares above drift towards the second shape over the window.
    drift: f32,
    /// How much strengths differ from one cycle to the next, and how long they stay alike.
    swing: (f32, f32),
}

impl Profile {
    /// A profile of this period in rows; `week` lets seven of them differ.
    pub fn draw(rng: &mut Rng, period: f32, week: bool) -> Self {
        let first = shape(rng);
        // The second is a variation of the first more often than another thing.
        let mut second = shape(rng);
        let likeness = rng.between(0.0, 1.0);
        second.iter_mut().zip(first).for_each(|(s, f)| *s = likeness * f + (1.0 - likeness) * *s);
        standardize(&mut second);
        let mut days = [(1.0, 0.0, 0.0); 7];
        match if week { rng.weighted(&[0.35, 0.5, 0.15]) } else { 0 } {
            1 => {
                // Two days off, which are alike.
                let (strength, shift) = (rng.between(0.2, 1.2), -rng.log_uniform(0.05, 2.0));
                let (share, begin) = (rng.between(0.0, 1.0), rng.below(7));
                let second_day = rng.between(0.8, 1.2);
                days[begin] = (strength, shift, share);
                days[(begin + 1) % 7] = (strength * second_day, shift * second_day, share);
            }
            2 => {
                let depth = rng.between(0.05, 0.5);
                days.iter_mut().for_each(|day| {
                    *day = (1.0 + 0.5 * depth * rng.normal(), depth * rng.normal(), 0.0)
                });
            }
            _ => {}
        }
        Self {
            period: period.max(1.0),
            phase: rng.unit(),
            shapes: [first, second],
            days,
            drift: if rng.chance(0.2) { rng.between(0.1, 0.8) } else { 0.0 },
            swing: (
                if rng.chance(0.75) { rng.log_uniform(0.03, 0.7) } else { 0.0 },
                rng.log_uniform(0.3, 20.0),
            ),
        }
    }

    /// Adds the profile to rows, `strength` being its standard deviation.
    pub fn add(&self, rng: &mut Rng, strength: f32, values: &mut [f32]) {
        let step = 1.0 / self.period;
        let rows = values.len().max(1) as f32;
        let mut place = self.phase;
        let mut day = rng.below(7);
        let mut swing = self.next_swing(rng, None);
        let mut next_swing = self.next_swing(rng, Some(swing));
        // A day keeps its amplitude, or passes over to the next one's.
        let gliding = rng.chance(0.5);
        let [first, second] = &self.shapes;
        let mut scaled = self.day(day, swing, strength);
        for (row, value) in values.iter_mut().enumerate() {
            if place >= 1.0 {
                place -= 1.0;
                day = (day + 1) % 7;
                swing = next_swing;
                next_swing = self.next_swing(rng, Some(swing));
                scaled = self.day(day, swing, strength);
                scaled.2 = (scaled.2 + self.drift * row as f32 / rows).min(1.0);
            }
            let position = place * KNOTS as f32;
            let knot = (position as usize).min(KNOTS - 1);
            let next = if knot + 1 == KNOTS { 0 } else { knot + 1 };
            let between = position - knot as f32;
            let (amplitude, shift, share) = scaled;
            let mut height = first[knot] + between * (first[next] - first[knot]);
            if share > 0.0 {
                let other = second[knot] + between * (second[next] - second[knot]);
                height += share * (other - height);
            }
            let glide = if gliding { 1.0 + place * (next_swing / swing - 1.0) } else { 1.0 };
            *value += amplitude * glide * height + shift;
            place += step;
        }
    }

    /// Strength, shift and share of a day of the week.
    fn day(&self, day: usize, swing: f32, strength: f32) -> (f32, f32, f32) {
        let (amplitude, shift, share) = self.days[day % 7];
        (amplitude * swing * strength, shift * strength, share)
    }

    /// The strength of the next cycle: the logarithm is an AR(1).
    fn next_swing(&self, rng: &mut Rng, last: Option<f32>) -> f32 {
        let (depth, memory) = self.swing;
        if depth == 0.0 {
            return 1.0;
        }
        let keep = (-1.0 / memory).exp();
        let log = match last {
            None => depth * rng.normal(),
            Some(last) => keep * last.ln() + depth * (1.0 - keep * keep).sqrt() * rng.normal(),
        };
        log.clamp(-2.5, 1.5).exp()
    }
}

/// One cycle with mean 0 and variance 1.
fn shape(rng: &mut Rng) -> [f32; KNOTS] {
    let mut knots = [0.0; KNOTS];
    add_shape(rng, 1.0, &mut knots);
    if rng.chance(0.4) {
        standardize(&mut knots);
        let share = rng.between(0.2, 1.0);
        add_shape(rng, share, &mut knots);
    }
    standardize(&mut knots);
    knots
}

fn add_shape(rng: &mut Rng, strength: f32, knots: &mut [f32; KNOTS]) {
    let mut add = |f: &dyn Fn(f32) -> f32| {
        for (knot, value) in knots.iter_mut().enumerate() {
            *value += strength * f(knot as f32 / KNOTS as f32);
        }
    };
    match rng.weighted(&[0.45, 0.25, 0.12, 0.1, 0.08]) {
        0 => {
            // A few harmonics, higher ones weaker: temperature when they fade fast.
            let decay = rng.between(0.6, 3.0);
            for harmonic in 1..=4 + rng.below(4) {
                let size = rng.normal() * (harmonic as f32).powf(-decay);
                let phase = TAU * rng.unit();
                add(&|x| size * (TAU * harmonic as f32 * x + phase).sin());
            }
        }
        1 => {
            // Peaks: mornings and evenings.
            for _ in 0..1 + rng.below(3) {
                let (size, width) = (rng.between(0.3, 1.0), rng.log_uniform(0.02, 0.2));
                let middle = rng.unit();
                add(&|x| {
                    let distance = (x - middle + 1.5).fract() - 0.5;
                    size * (-0.5 * (distance / width).powi(2)).exp()
                });
            }
        }
        2 => {
            // Open and closed.
            let (begin, open) = (rng.unit(), rng.between(0.15, 0.7));
            let edge = rng.log_uniform(0.005, 0.08);
            add(&|x| {
                let x = (x - begin + 1.0).fract();
                0.5 * ((x / edge).tanh() - ((x - open) / edge).tanh()
                    + ((x - 1.0) / edge).tanh()
                    + 1.0)
            });
        }
        3 => {
            // Sunshine: half a sine, nothing at night.
            let (rise, day) = (rng.unit(), rng.between(0.3, 0.7));
            add(&|x| {
                let x = (x - rise + 1.0).fract();
                if x < day { (TAU * 0.5 * x / day).sin() } else { 0.0 }
            });
        }
        _ => {
            // Charging and discharging: up fast, down slowly, or the other way round.
            let (begin, turn) = (rng.unit(), rng.between(0.05, 0.95));
            add(&|x| {
                let x = (x - begin + 1.0).fract();
                if x < turn { x / turn } else { (1.0 - x) / (1.0 - turn) }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn shapes_are_standardized() {
        let mut rng = Seed::new(13).rng();
        for _ in 0..200 {
            let shape = shape(&mut rng);
            let variance = shape.iter().map(|v| v * v).sum::<f32>() / KNOTS as f32;
            assert!((variance - 1.0).abs() < 1e-3, "{variance}");
        }
    }

    #[test]
    fn a_steady_profile_repeats_exactly() {
        let mut rng = Seed::new(14).rng();
        let mut profile = Profile::draw(&mut rng, 24.0, false);
        (profile.swing, profile.drift) = ((0.0, 1.0), 0.0);
        let mut values = vec![0.0; 24 * 5];
        profile.add(&mut rng, 2.0, &mut values);
        for row in 0..96 {
            assert!((values[row] - values[row + 24]).abs() < 1e-3);
        }
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 120.0;
        assert!((2.0..6.0).contains(&variance), "about the square of 2: {variance}");
    }

    #[test]
    fn days_off_return_weekly() {
        let mut rng = Seed::new(15).rng();
        let mut profile = Profile::draw(&mut rng, 24.0, true);
        (profile.swing, profile.drift) = ((0.0, 1.0), 0.0);
        profile.days = [(1.0, 0.0, 0.0); 7];
        profile.days[3] = (0.5, -2.0, 0.0);
        let mut values = vec![0.0; 24 * 21];
        profile.add(&mut rng, 1.0, &mut values);
        assert!((0..24 * 14).all(|row| (values[row] - values[row + 168]).abs() < 1e-3));
        assert!((0..24 * 14).any(|row| (values[row] - values[row + 24]).abs() > 1.0));
    }
}
