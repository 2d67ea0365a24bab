//! Second-order recursive filters.

use std::f64::consts::TAU;

/// Biquad filter, a second-order recursive section with its state:
/// `y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Biquad {
    forward: [f64; 3],
    back: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    /// A low-pass section with this corner, Hz, by the bilinear transform.
    pub fn low_pass(corner: f64, quality: f64, rate: f64) -> Self {
        let (cosine, alpha) = corner_of(corner, quality, rate);
        let gain = 1.0 - cosine;
        Self::normalised([gain / 2.0, gain, gain / 2.0], cosine, alpha)
    }

    /// A high-pass section with this corner, Hz, by the bilinear transform.
    pub fn high_pass(corner: f64, quality: f64, rate: f64) -> Self {
        let (cosine, alpha) = corner_of(corner, quality, rate);
        let gain = 1.0 + cosine;
        Self::normalised([gain / 2.0, -gain, gain / 2.0], cosine, alpha)
    }

    /// Changes to a resonance at `frequency`, Hz, of this bandwidth, Hz, with gain 1 at 0 Hz, and
    /// keeps the state (Klatt, Software for a cascade/parallel formant synthesizer, 1980).
    pub fn resonate(&mut self, frequency: f64, bandwidth: f64, rate: f64) {
        let radius = (-TAU / 2.0 * bandwidth / rate).exp();
        self.back = [-2.0 * radius * (TAU * frequency / rate).cos(), radius * radius];
        self.forward = [1.0 + self.back[0] + self.back[1], 0.0, 0.0];
    }

    /// Deviation of a resonance's output when its input is noise of deviation 1.
    pub fn noise_level(&self) -> f64 {
        let ([gain, ..], [a1, a2]) = (self.forward, self.back);
        (gain * gain * (1.0 + a2) / ((1.0 - a2) * ((1.0 + a2) * (1.0 + a2) - a1 * a1))).sqrt()
    }

    /// The next output.
    pub fn step(&mut self, input: f64) -> f64 {
        // Transposed direct form II.
        let output = self.forward[0] * input + self.state[0];
        self.state[0] = self.forward[1] * input - self.back[0] * output + self.state[1];
        self.state[1] = self.forward[2] * input - self.back[1] * output;
        output
    }

    fn normalised(forward: [f64; 3], cosine: f64, alpha: f64) -> Self {
        let first = 1.0 + alpha;
        Self {
            forward: forward.map(|value| value / first),
            back: [-2.0 * cosine / first, (1.0 - alpha) / first],
            state: [0.0; 2],
        }
    }
}

/// Quality factors of the two sections of a fourth-order Butterworth filter.
pub(super) const BUTTERWORTH_4: [f64; 2] = [0.541_196_1, 1.306_563];

fn corner_of(corner: f64, quality: f64, rate: f64) -> (f64, f64) {
    let (sine, cosine) = (TAU * corner / rate).sin_cos();
    (cosine, sine / (2.0 * quality))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_1_SQRT_2;

    /// Level of a sine behind a filter, once it has settled.
    fn gain(mut filter: Biquad, frequency: f64) -> f64 {
        let out = (0..8000).map(|n| filter.step((TAU * frequency * f64::from(n) / 8000.0).sin()));
        out.skip(4000).fold(0.0, |most, value| f64::max(most, value.abs()))
    }

    #[test]
    fn corners_are_at_three_decibels() {
        let low = Biquad::low_pass(1000.0, FRAC_1_SQRT_2, 8000.0);
        let high = Biquad::high_pass(1000.0, FRAC_1_SQRT_2, 8000.0);
        for filter in [low, high] {
            assert!((gain(filter, 1000.0) - FRAC_1_SQRT_2).abs() < 0.01);
        }
        assert!(gain(low, 100.0) > 0.99 && gain(low, 3500.0) < 0.02);
        assert!(gain(high, 3500.0) > 0.99 && gain(high, 100.0) < 0.02);
    }

    #[test]
    fn a_resonance_stands_where_it_should() {
        let mut filter = Biquad::default();
        filter.resonate(500.0, 60.0, 8000.0);
        let (low, at, high) = (gain(filter, 300.0), gain(filter, 500.0), gain(filter, 800.0));
        assert!(at > 3.0 * low && at > 3.0 * high, "{low} {at} {high}");
    }
}
