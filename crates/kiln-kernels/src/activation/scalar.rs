//! Activation functions of one number: what the CPU versions apply in their loops, here and in
//! other kernels' last steps.

use crate::cpu::math::{exp, sigmoid, tanh};
use crate::{Backend, activate};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// An activation function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    #[default]
    /// `x Φ(x)` with the normal distribution function, exactly, <https://arxiv.org/abs/1606.08415>.
    Gelu,
    /// The same with `Φ` approximated by `(1 + tanh(sqrt(2 / π) (x + 0.044715 x³))) / 2`.
    GeluTanh,
    /// The same with `Φ` approximated by `sigmoid(1.702 x)`.
    GeluSigmoid,
    /// `x sigmoid(x)`, also called swish, <https://arxiv.org/abs/1702.03118>.
    Silu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// `2 sqrt(2 / π)`: the approximation by a hyperbolic tangent is the sigmoid of twice its argument.
pub(super) const TANH_SCALE: f32 = FRAC_2_SQRT_PI * SQRT_2;
/// The weight of the cube in that approximation.
pub(super) const TANH_CUBE: f32 = 0.044_715;
/// Beyond it, the approximation is 0 or 1 and level to the last place.
pub(super) const TANH_END: f32 = 12.0;
/// The steepness of the approximation by a sigmoid.
pub(super) const SIGMOID_SCALE: f32 = 1.702;
/// `1 / sqrt(2 π)`.
pub(super) const NORMAL_DENSITY: f32 = 0.398_942_3;
/// `e^(a²/2) Φ(-a)` for `a >= 0`: a polynomial in `t = 1 / (1 + NORMAL_SCALE a)`, from its highest
/// power, fitted for the least relative error (4e-8) over 0 to 14.
pub(super) const NORMAL_TAIL: [f32; 9] = [
    0.039_421_186,
    -0.183_406_32,
    0.271_016_87,
    -0.117_071_36,
    0.166_289_12,
    0.084_744_75,
    0.121_699_4,
    0.117_289_34,
    1.700_699_8e-5,
];
/// See [`NORMAL_TAIL`].
pub(super) const NORMAL_SCALE: f32 = 0.295;

impl Activation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Relu,
        Self::Gelu,
        Self::GeluTanh,
        Self::GeluSigmoid,
        Self::Silu,
        Self::Sigmoid,
        Self::Tanh,
    ];

    /// Applies it to every value of a tensor of any shape.
    pub fn forward<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        activate(x, None, self)
    }

    /// The activation of this number: constant generics cannot be enums yet.
    pub(crate) const fn of(code: u8) -> Self {
        Self::ALL[code as usize]
    }

    /// The function's value.
    #[inline(always)]
    pub fn value(self, x: f32) -> f32 {
        self.value_and_derivative(x).0
    }

    /// The function's derivative; that of [`Relu`](Self::Relu) at zero is zero.
    #[inline(always)]
    pub fn derivative(self, x: f32) -> f32 {
        self.value_and_derivative(x).1
    }

    /// Both, which share most of their work. What is not used is not computed once inlined.
    #[inline(always)]
    pub fn value_and_derivative(self, x: f32) -> (f32, f32) {
        match self {
            Self::Identity => (x, 1.0),
            Self::Relu => (if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 }),
            Self::Gelu => {
                let (below, density) = normal(x);
                (x * below, below + x * density)
            }
            Self::GeluTanh => {
                let end = if x > TANH_END { TANH_END } else { x };
                let end = if end < -TANH_END { -TANH_END } else { end };
                let square = end * end;
                let s = sigmoid(TANH_SCALE * end * (1.0 + TANH_CUBE * square));
                let slope = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * square);
                (x * s, s + end * s * (1.0 - s) * slope)
            }
            Self::GeluSigmoid => {
                let s = sigmoid(SIGMOID_SCALE * x);
                (x * s, s + s * (1.0 - s) * x * SIGMOID_SCALE)
            }
            Self::Silu => {
                let s = sigmoid(x);
                (x * s, s + s * (1.0 - s) * x)
            }
            Self::Sigmoid => {
                let s = sigmoid(x);
                (s, s * (1.0 - s))
            }
            Self::Tanh => {
                let t = tanh(x);
                (t, 1.0 - t * t)
            }
        }
    }
}

/// The normal distribution function and its density. One exponential serves both.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let t = 1.0 / (1.0 + NORMAL_SCALE * x.abs());
    let e = exp(-0.5 * x * x);
    let mut p = NORMAL_TAIL[0];
    for coefficient in &NORMAL_TAIL[1..] {
        p = p * t + coefficient;
    }
    let tail = p * e;
    (if x < 0.0 { tail } else { 1.0 - tail }, e * NORMAL_DENSITY)
}

/// Compiles an expression once for each activation; `$code` is then a constant for
/// [`Activation::of`], so that no loop chooses.
macro_rules! for_activation {
    ($activation:expr, $code:ident => $body:expr) => {
        $crate::activation::for_activation!(
            @ $activation, $code, $body,
            Identity Relu Gelu GeluTanh GeluSigmoid Silu Sigmoid Tanh
        )
    };
    (@ $activation:expr, $code:ident, $body:expr, $($variant:ident)+) => {
        match $activation {
            $($crate::activation::Activation::$variant => {
                const $code: u8 = $crate::activation::Activation::$variant as u8;
                $body
            })+
        }
    };
}
pub(crate) use for_activation;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions() {
        for activation in Activation::ALL {
            assert_eq!(Activation::of(activation as u8), activation);
            assert_eq!(for_activation!(activation, CODE => Activation::of(CODE)), activation);
        }
    }

    #[test]
    fn known_values_at_one() {
        for (activation, value, derivative) in [
            (Activation::Identity, 1.0, 1.0),
            (Activation::Relu, 1.0, 1.0),
            (Activation::Gelu, 0.841_344_8, 1.083_315_5),
            (Activation::GeluTanh, 0.841_192, 1.082_964),
            (Activation::GeluSigmoid, 0.845_795_8, 1.067_779_5),
            (Activation::Silu, 0.731_058_6, 0.927_670_5),
            (Activation::Sigmoid, 0.731_058_6, 0.196_611_94),
            (Activation::Tanh, 0.761_594_2, 0.419_974_33),
        ] {
            let found = activation.value_and_derivative(1.0);
            let off = (found.0 - value).abs().max((found.1 - derivative).abs());
            assert!(off < 1e-6, "{activation:?}: {found:?}");
        }
    }

    #[test]
    fn derivatives_are_slopes() {
        for activation in Activation::ALL {
            for step in -79..80 {
                // Never zero, where the slope of a rectifier jumps.
                let x = step as f32 / 10.0 + 0.05;
                let h = 1.0 / 64.0;
                let slope = (activation.value(x + h) - activation.value(x - h)) / (2.0 * h);
                let found = activation.derivative(x);
                assert!((slope - found).abs() < 3e-4, "{activation:?} at {x}: {slope}, {found}");
            }
        }
    }

    #[test]
    fn far_out_they_are_level_or_straight() {
        for activation in Activation::ALL {
            for x in [13.0, 100.0, 1e20, f32::MAX] {
                let (value, slope) = activation.value_and_derivative(x);
                let straight = !matches!(activation, Activation::Sigmoid | Activation::Tanh);
                let expected = if straight { (x, 1.0) } else { (1.0, 0.0) };
                assert!((value - expected.0).abs() <= 1e-5 * x.max(1.0), "{activation:?} at {x}");
                assert!((slope - expected.1).abs() < 1e-4, "{activation:?} at {x}: {slope}");
                let (value, slope) = activation.value_and_derivative(-x);
                let expected = match activation {
                    Activation::Identity => (-x, 1.0),
                    Activation::Tanh => (-1.0, 0.0),
                    _ => (0.0, 0.0),
                };
                assert!((value - expected.0).abs() < 1e-4, "{activation:?} at {}: {value}", -x);
                assert!((slope - expected.1).abs() < 1e-4, "{activation:?} at {}: {slope}", -x);
            }
            assert!(activation.value(f32::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn the_normal_tail_keeps_its_digits() {
        // Φ(-x) to ten digits (Abramowitz and Stegun, table 26.1 and its asymptotic expansion).
        for (x, expected) in
            [(0.0, 0.5), (1.0, 0.158_655_253_9), (3.0, 1.349_898_032e-3), (8.0, 6.220_960_574e-16)]
        {
            let found = f64::from(normal(-x).0);
            assert!((found / expected - 1.0).abs() < 3e-6, "{x}: {found}");
            assert!((f64::from(normal(x).0) - (1.0 - expected)).abs() < 2e-7, "{x}");
        }
    }
}
