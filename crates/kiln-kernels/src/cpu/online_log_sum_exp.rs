//! Online log-sum-exp: of values that come a chunk at a time.

use super::{
    math::{exp, ln},
    simd::{max, sum},
};

/// How many logits are looked at together: they stay in the first cache between the passes that
/// find the greatest and sum the exponentials.
const BLOCK: usize = 1024;

/// Online log-sum-exp of a row of logits: the greatest so far, and the sum relative to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnlineLogSumExp {
    /// The greatest.
    max: f32,
    /// The sum of `e^(logit - max)`.
    scaled: f32,
    /// Their sum.
    pub(crate) total: f32,
}

impl OnlineLogSumExp {
    /// Of no logits.
    pub(crate) const NONE: Self = Self { max: f32::NEG_INFINITY, scaled: 0.0, total: 0.0 };

    /// Takes more logits into account; their sum only where it is asked for.
    #[inline(always)]
    pub(crate) fn add(&mut self, logits: &[f32], with_total: bool) {
        for block in logits.chunks(BLOCK) {
            let highest = max(block);
            let highest = if highest > self.max { highest } else { self.max };
            // Where all are negative infinity, their difference would not be a number.
            let base = if highest == f32::NEG_INFINITY { 0.0 } else { highest };
            self.scaled = self.scaled * exp(self.max - base) + sum(block, |x| exp(x - base));
            self.max = highest;
            if with_total {
                self.total += sum(block, |x| x);
            }
        }
    }

    /// `ln Σ e^logit`.
    #[inline(always)]
    pub(crate) fn log_sum_exp(&self) -> f32 {
        self.max + ln(self.scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_to_the_whole() {
        let values: Vec<f32> = (0..3000).map(|i| (i * 37 % 101) as f32 - 90.0).collect();
        let truth: f64 = values.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        for split in [0, 1, 1500, 3000] {
            let mut running = OnlineLogSumExp::NONE;
            running.add(&[f32::NEG_INFINITY; 3], true);
            running.total = 0.0;
            running.add(&values[..split], true);
            running.add(&values[split..], true);
            assert!((f64::from(running.log_sum_exp()) - truth).abs() < 1e-5);
            assert!((running.total - values.iter().sum::<f32>()).abs() < 0.1);
        }
    }
}
