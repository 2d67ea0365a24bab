//! Elementary functions of f32 without branches, so that loops over them vectorise. Errors are
//! within a few units in the last place over the range that matters; the tests measure them.

/// `e^x`. Zero below -87.3, infinite only where f32 is.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7.
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.722_83 { 88.722_83 } else { x };
    let clamped = if clamped < -87.336_54 { -87.336_54 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // 2^n in two factors: n reaches 128, which one exponent field cannot hold.
    let bits = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let half = bits >> 1;
    let scale = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    let value = p * scale(half) * scale(bits.wrapping_sub(half));
    let value = if x < -87.336_54 { 0.0 } else { value };
    if x > 88.722_83 { f32::INFINITY } else { value }
}

/// The natural logarithm of a positive, normal number.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m by its series in (m - 1) / (m + 1).
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3) as i32;
    let exponent = bits >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff) as u32 + 0x3f35_04f3);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 2.0 / 9.0;
    p = p * z + 2.0 / 7.0;
    p = p * z + 2.0 / 5.0;
    p = p * z + 2.0 / 3.0;
    let value = s * (p * z + 2.0) + exponent as f32 * -2.121_944_4e-4;
    value + exponent as f32 * 0.693_359_4
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Near zero the quotient would cancel; there the odd series is exact to the last place.
    let z = x * x;
    let mut p = 62.0 / 2835.0;
    p = p * z - 17.0 / 315.0;
    p = p * z + 2.0 / 15.0;
    p = p * z - 1.0 / 3.0;
    let small = x + x * z * p;
    let e = exp(2.0 * x.abs());
    let large = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if z < 0.04 { small } else { large }
}

/// The error function.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    // Abramowitz and Stegun 7.1.28 is too coarse; below 0.5 the Maclaurin series, above it
    // 1 - e^(-x^2) times a rational approximation of the scaled complement (7.1.26 refined).
    let a = x.abs();
    let z = a * a;
    let mut p = -1.0 / 9360.0;
    p = p * z + 1.0 / 1320.0;
    p = p * z - 1.0 / 216.0;
    p = p * z + 1.0 / 42.0;
    p = p * z - 1.0 / 10.0;
    p = p * z + 1.0 / 3.0;
    let small = std::f32::consts::FRAC_2_SQRT_PI * (a - a * z * p);
    let complement = erfc_scaled(a) * exp(-z);
    let value = if a < 0.5 { small } else { 1.0 - complement };
    value.copysign(x)
}

/// `e^(x^2) erfc(x)` for `x >= 0`: a polynomial in `t = 1 / (1 + x / 2)` with the exponential of
/// the leading terms (W. H. Press et al., Numerical Recipes, section 6.2).
#[inline(always)]
fn erfc_scaled(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * x);
    let mut p = 0.170_872_77;
    p = p * t - 0.822_152_2;
    p = p * t + 1.488_515_9;
    p = p * t - 1.135_204;
    p = p * t + 0.278_868_07;
    p = p * t - 0.186_288_06;
    p = p * t + 0.096_784_18;
    p = p * t + 0.374_091_96;
    p = p * t + 1.000_023_7;
    t * exp(p * t - 1.265_512_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error over `range`, where the true value is at least `floor`.
    fn error(f: fn(f32) -> f32, truth: fn(f64) -> f64, range: (f32, f32)) -> f64 {
        (0..=200_000)
            .map(|step| {
                let x = range.0 + (range.1 - range.0) * step as f32 / 200_000.0;
                let expected = truth(f64::from(x));
                (f64::from(f(x)) - expected).abs() / expected.abs().max(1e-30)
            })
            .fold(0.0, f64::max)
    }

    /// The error function by its series in f64, for the tests' range.
    fn erf_series(x: f64) -> f64 {
        let (mut sum, mut term) = (x, x);
        for n in 1..200 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn errors_are_small() {
        assert!(error(exp, f64::exp, (-87.0, 88.0)) < 3e-7);
        assert!(error(ln, f64::ln, (1e-6, 10.0)) < 2e-6, "relative, also near one");
        assert!(error(tanh, f64::tanh, (-10.0, 10.0)) < 1e-6);
        assert!(error(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), (-80.0, 80.0)) < 5e-7);
        assert!(error(erf, erf_series, (-4.0, 4.0)) < 1e-6);
    }

    #[test]
    fn limits() {
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1e30), exp(0.0)), (0.0, 0.0, 1.0));
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((tanh(40.0), tanh(-40.0), erf(10.0), erf(-10.0)), (1.0, -1.0, 1.0, -1.0));
        assert_eq!((tanh(0.0), erf(0.0), sigmoid(-200.0)), (0.0, 0.0, 0.0));
    }
}
