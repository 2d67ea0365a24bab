//! Relative position bias, a learned score for each range of distances: T5, <https://arxiv.org/abs/1910.10683>, section 2.1.

use crate::{ConfigError, Positions};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData},
};
use kiln_core::Backend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of relative position bias: ranges of distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelativeConfig {
    /// How many ranges: half of them for short distances, one each, the others ever wider. Where
    /// tokens attend both ways, one half is for those before, one for those after.
    pub buckets: usize,
    /// All distances from here on are one range, tokens.
    pub distance: usize,
}

impl Default for RelativeConfig {
    fn default() -> Self {
        Self { buckets: 32, distance: 128 }
    }
}

impl RelativeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When there are too few ranges, or the distance is not beyond the short ones.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.buckets < 4 || !self.buckets.is_multiple_of(2) {
            return Err(ConfigError::new("buckets", self.buckets, "an even number from 4"));
        }
        if self.distance <= self.buckets / 2 {
            let expected = format!("more than half the {} buckets", self.buckets);
            return Err(ConfigError::new("distance", self.distance, expected));
        }
        Ok(())
    }

    /// A table of random scores.
    pub fn init<B: Backend>(&self, heads: usize, device: &B::Device) -> RelativeBias<B> {
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        RelativeBias { weight: normal.init([self.buckets, heads], device), distance: self.distance }
    }
}

/// Relative position bias: a table of scores.
#[derive(Module, Debug)]
pub struct RelativeBias<B: Backend> {
    /// `[buckets, heads]`
    pub weight: Param<Tensor<B, 2>>,
    distance: usize,
}

impl<B: Backend> RelativeBias<B> {
    /// What is added to the scores of the last `queries` of `keys` tokens:
    /// `[1, heads, queries, keys]`.
    pub fn forward(&self, queries: usize, keys: usize, causal: bool) -> Tensor<B, 4> {
        let weight = self.weight.val();
        let [buckets, heads] = weight.dims();
        let first = keys.saturating_sub(queries);
        let mut ids = Vec::with_capacity(queries * keys);
        for query in first..first + queries {
            ids.extend((0..keys).map(|key| {
                let ahead = key as i64 - query as i64;
                bucket(ahead, buckets, self.distance, causal) as i64
            }));
        }
        let ids = TensorData::new(ids, [1, queries * keys]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &weight.device());
        let scores = kiln_kernels::embedding(weight, ids);
        scores.reshape([1, queries, keys, heads]).permute([0, 3, 1, 2])
    }

    /// What is added to the scores of tokens that stand at these positions, `[batch, tokens]`:
    /// `[batch, heads, tokens, tokens]`.
    pub fn forward_between(&self, positions: &Positions<B>, causal: bool) -> Tensor<B, 4> {
        let weight = self.weight.val();
        let [buckets, heads] = weight.dims();
        let most = positions.count.max(1) as i64 - 1;
        // The scores of each distance, from that of the last token to the first on.
        let bucket = |ahead: i64| bucket(ahead, buckets, self.distance, causal) as i64;
        let ids: Vec<i64> = (-most..=most).map(bucket).collect();
        let count = ids.len();
        let ids = TensorData::new(ids, [1, count]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &weight.device());
        let scores = kiln_kernels::embedding(weight, ids).reshape([count, heads]);
        let [batch, tokens] = positions.ids.dims();
        let ahead = positions.ahead().reshape([batch, tokens * tokens]) + most;
        let scores = kiln_kernels::embedding(scores, ahead);
        scores.reshape([batch, tokens, tokens, heads]).permute([0, 3, 1, 2])
    }
}

/// The range of a key that stands `ahead` of its query.
fn bucket(ahead: i64, buckets: usize, distance: usize, causal: bool) -> usize {
    let (buckets, offset, away) = if causal {
        (buckets, 0, (-ahead).max(0) as usize)
    } else {
        let half = buckets / 2;
        (half, if ahead > 0 { half } else { 0 }, ahead.unsigned_abs() as usize)
    };
    let exact = buckets / 2;
    if away < exact {
        return offset + away;
    }
    // In single precision, as the published models were trained: borders fall on whole numbers.
    let wide = (away as f32 / exact as f32).ln() / (distance as f64 / exact as f64).ln() as f32;
    let wide = exact + (wide * (buckets - exact) as f32) as usize;
    offset + wide.min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn ranges_grow_with_the_distance() {
        let both = |ahead| bucket(ahead, 32, 128, false);
        assert_eq!([0, -1, -7, -8, -127, -500].map(both), [0, 1, 7, 8, 15, 15]);
        assert_eq!([1, 7, 8, 15, 16, 1000].map(both), [17, 23, 24, 25, 26, 31]);
        let back = |ahead| bucket(ahead, 32, 128, true);
        assert_eq!([5, 0, -15, -16, -1000].map(back), [0, 0, 15, 16, 31]);
    }

    #[test]
    fn the_last_queries_see_what_they_saw_among_all() {
        let bias = RelativeConfig { buckets: 4, distance: 8 };
        bias.validate().unwrap();
        let bias = bias.init::<Flex>(2, &Default::default());
        let all = bias.forward(5, 5, true).slice([0..1, 0..2, 3..5, 0..5]);
        assert_eq!(all.into_data(), bias.forward(2, 5, true).into_data());
        assert!(RelativeConfig { buckets: 5, distance: 8 }.validate().is_err());
    }

    #[test]
    fn arranged_tokens_keep_their_distances() {
        let bias = RelativeConfig { buckets: 4, distance: 8 }.init::<Flex>(2, &Default::default());
        let all: Vec<f32> = bias.forward(5, 5, false).into_data().to_vec().unwrap();
        let order = [4i64, 0, 3, 3];
        let ids = Tensor::from_data([order, [0, 1, 2, 3]], &Default::default());
        let between = bias.forward_between(&Positions { ids, count: 5, arranged: true }, false);
        assert_eq!(between.dims(), [2, 2, 4, 4]);
        let between: Vec<f32> = between.into_data().to_vec().unwrap();
        for (row, places) in [order, [0, 1, 2, 3]].into_iter().enumerate() {
            for head in 0..2 {
                for (at, (query, key)) in (0..16).map(|at| (at, (places[at / 4], places[at % 4]))) {
                    let expected = all[head * 25 + (query * 5 + key) as usize];
                    assert_eq!(between[(row * 2 + head) * 16 + at], expected);
                }
            }
        }
    }
}
