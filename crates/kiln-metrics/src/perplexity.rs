//! Perplexity of language models: cross-entropy, perplexity, bits per byte.

use serde::{Deserialize, Serialize};
use std::{f64::consts::LN_2, ops::AddAssign};

/// Negative log-likelihood of a text, as a streaming sum.
///
/// Perplexities compare models that share a tokenizer; bits per byte compare any, as in the Pile,
/// Gao et al. 2020, <https://arxiv.org/abs/2101.00027>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// The sum over all tokens, in nats.
    pub nats: f64,
    /// How many tokens were predicted.
    pub tokens: u64,
    /// How many bytes of UTF-8 they are.
    pub bytes: u64,
}

impl Perplexity {
    /// Cross-entropy: the mean over tokens, in nats. `None` without tokens.
    pub fn cross_entropy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.nats / self.tokens as f64)
    }

    /// Perplexity: the exponential of the cross-entropy. `None` without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        self.cross_entropy().map(f64::exp)
    }

    /// Bits per byte of text. `None` without bytes.
    pub fn bits_per_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.nats / LN_2 / self.bytes as f64)
    }
}

impl AddAssign for Perplexity {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    #[test]
    fn a_fair_die_and_a_coin() {
        let mut sum = Perplexity::default();
        assert_eq!((sum.perplexity(), sum.bits_per_byte()), (None, None));
        sum += Perplexity { nats: 4.0 * 6_f64.ln(), tokens: 4, bytes: 8 };
        assert!(close(sum.perplexity().unwrap(), 6.0));
        assert!(close(sum.bits_per_byte().unwrap(), 6_f64.log2() / 2.0));
        sum += Perplexity { nats: 4.0 * 1.5_f64.ln(), tokens: 4, bytes: 8 };
        assert!(close(sum.perplexity().unwrap(), 3.0));
    }
}
