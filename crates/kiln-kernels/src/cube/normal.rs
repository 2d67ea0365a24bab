//! GELU with its slope, as on the CPU.

use cubecl::prelude::*;

/// `e^(-x²/2)`, zero far out without squaring large numbers.
#[cube]
fn bell(x: f32) -> f32 {
    let x = clamp(x, -13.0f32, 13.0f32);
    (-0.5f32 * x * x).exp()
}

/// The distribution function of the normal distribution (Abramowitz and Stegun, 7.1.26).
#[cube]
fn below(x: f32) -> f32 {
    let t = 1.0f32 / (1.0f32 + 0.231_641_88f32 * x.abs());
    let mut p = 1.061_405_4f32 * t - 1.453_152f32;
    p = p * t + 1.421_413_7f32;
    p = p * t - 0.284_496_74f32;
    p = p * t + 0.254_829_6f32;
    let tail = 0.5f32 * t * p * bell(x);
    select(x < 0.0f32, tail, 1.0f32 - tail)
}

/// `x Φ(x)`.
#[cube]
pub(crate) fn gelu(x: f32) -> f32 {
    x * below(x)
}

/// `Φ(x) + x φ(x)`.
#[cube]
pub(crate) fn gelu_slope(x: f32) -> f32 {
    // Beyond 13 the density is zero, but x times it may not be.
    below(x) + clamp(x, -13.0f32, 13.0f32) * bell(x) * 0.398_942_28f32
}
