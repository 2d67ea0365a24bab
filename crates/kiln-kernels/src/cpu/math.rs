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
    // 2^n in two factors: n reaches 128, which one exponent field cannot hold. Checks for overflow
    // would be branches.
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
    let m = f32::from_bits(((bits & 0x007f_ffff) as u32).wrapping_add(0x3f35_04f3));
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

    #[test]
    fn errors_are_small() {
        assert!(error(exp, f64::exp, (-87.0, 88.0)) < 3e-7);
        assert!(error(ln, f64::ln, (1e-6, 10.0)) < 2e-6, "relative, also near one");
        assert!(error(tanh, f64::tanh, (-10.0, 10.0)) < 1e-6);
        assert!(error(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), (-80.0, 80.0)) < 5e-7);
    }

    #[test]
    fn limits() {
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1e30), exp(0.0)), (0.0, 0.0, 1.0));
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((tanh(40.0), tanh(-40.0)), (1.0, -1.0));
        assert_eq!((tanh(0.0), sigmoid(-200.0)), (0.0, 0.0));
    }
}
