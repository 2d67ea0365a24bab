//! GELU with its slope: one exponential serves both.

use super::math::exp;

/// `x Φ(x)`, with `Φ` the distribution function of the normal distribution, and its slope
/// `Φ(x) + x φ(x)`. `Φ` is within 1e-7 (Abramowitz and Stegun, 7.1.26), its lower tail without
/// cancellation.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> (f32, f32) {
    const INVERSE_ROOT_TAU: f32 = 0.398_942_28;
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * t * p * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (x * below, below + x * bell * INVERSE_ROOT_TAU)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distribution function by its series in f64.
    fn below(x: f64) -> f64 {
        let (mut sum, mut term) = (x, x);
        for n in 1..200 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn value_and_slope() {
        for step in -600..=600 {
            let x = step as f32 / 100.0;
            let wide = f64::from(x);
            let density = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let (value, slope) = gelu(x);
            assert!((f64::from(value) - wide * below(wide)).abs() < 6e-7, "value at {x}");
            assert!((f64::from(slope) - below(wide) - wide * density).abs() < 4e-7, "slope at {x}");
        }
        assert_eq!((gelu(0.0), gelu(1e30), gelu(-1e30)), ((0.0, 0.5), (1e30, 1.0), (0.0, 0.0)));
    }
}
