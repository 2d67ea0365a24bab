//! Random draws from the distributions that generators and augmentation use.

use kiln_host::Rng;
use rand::RngExt as _;
use rand_distr::{Distribution as _, StandardNormal};

/// Random draws from common distributions, of any [`Rng`].
pub trait Draw {
    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f32;
    /// Standard normal.
    fn normal(&mut self) -> f32;
    /// Uniform in `[low, high)`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
    /// Log-uniform in `[low, high)`: every order of magnitude is as likely as another.
    fn log_uniform(&mut self, low: f32, high: f32) -> f32 {
        self.between(low.ln(), high.ln()).exp()
    }
    /// Bernoulli: true with this probability.
    fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.unit()) < probability
    }
    /// Uniform in `0..count`; 0 when `count` is 0.
    fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f32) as usize).min(count.saturating_sub(1))
    }
    /// 1 or -1.
    fn sign(&mut self) -> f32 {
        if self.unit() < 0.5 { -1.0 } else { 1.0 }
    }
    /// Categorical: an index of `weights` with a probability in proportion; 0 when all are 0.
    fn weighted(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().filter(|weight| **weight > 0.0).sum();
        let mut rest = f64::from(self.unit()) * total;
        let mut last = 0;
        for (place, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            last = place;
            rest -= weight;
            if rest < 0.0 {
                break;
            }
        }
        last
    }
    /// Exponential with mean 1.
    fn exponential(&mut self) -> f32 {
        -(1.0 - self.unit()).ln()
    }
    /// Poisson with mean `rate`; normal above 30, where the two are alike.
    fn count(&mut self, rate: f32) -> f32 {
        if rate > 30.0 {
            return (rate + rate.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = (-rate).exp();
        let (mut count, mut product) = (0.0, self.unit());
        while product > limit {
            count += 1.0;
            product *= self.unit();
        }
        count
    }
}

impl Draw for Rng {
    fn unit(&mut self) -> f32 {
        self.random::<f32>()
    }

    fn normal(&mut self) -> f32 {
        StandardNormal.sample(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn weights_are_probabilities() {
        let mut rng = Seed::new(1).rng();
        let mut seen = [0u32; 3];
        for _ in 0..4000 {
            seen[rng.weighted(&[1.0, 0.0, 3.0])] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!((seen[0] as i32 - 1000).abs() < 100, "{seen:?}");
        assert_eq!(rng.weighted(&[0.0, 0.0]), 0);
    }

    #[test]
    fn counts_have_their_mean() {
        let mut rng = Seed::new(2).rng();
        for rate in [0.3f32, 4.0, 80.0] {
            let mean = (0..4000).map(|_| rng.count(rate)).sum::<f32>() / 4000.0;
            assert!((mean - rate).abs() < 4.0 * (rate / 4000.0).sqrt(), "{mean} for {rate}");
        }
    }
}
