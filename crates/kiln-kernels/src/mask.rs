//! Finite values that stand for minus infinity: sums and differences of them are numbers.

/// What is added to a masked score before a softmax: enough for a probability of zero.
pub const MASK_VALUE: f64 = -1e9;

/// The logarithm of the probability of the impossible.
pub const LOG_ZERO: f32 = -1e30;
