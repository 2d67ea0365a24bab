//! Batches of recordings of similar length, so that little of a batch is padding.

use crate::{DataError, Result};
use kiln_host::Seed;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bucketing by length: how batches are put together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bucketing {
    /// Sound of a batch with its padding, s: its clips times the longest of them.
    pub seconds: f64,
    /// Clips of a batch, at most.
    pub clips: usize,
    /// Clips that are shuffled and then sorted together: more means less padding, fewer means
    /// batches that differ more from one epoch to the next.
    pub pool: usize,
}

impl Default for Bucketing {
    fn default() -> Self {
        Self { seconds: 80.0, clips: 64, pool: 2048 }
    }
}

impl Bucketing {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            return Err(DataError::config("seconds", self.seconds, "more than 0 s"));
        }
        for (key, value) in [("clips", self.clips), ("pool", self.pool)] {
            if value == 0 {
                return Err(DataError::config(key, value, "at least 1"));
            }
        }
        Ok(())
    }

    /// The batches of an epoch: each index of `durations` (s) is in exactly one. A clip that is
    /// longer than a batch may be is a batch of its own.
    ///
    /// A function of its arguments alone: an epoch that is resumed is the same again.
    pub fn batches(&self, durations: &[f64], seed: Seed, epoch: u64) -> Vec<Vec<u64>> {
        let rng = &mut seed.part("buckets").at(epoch).rng();
        let mut order: Vec<usize> = (0..durations.len()).collect();
        order.shuffle(rng);
        let mut batches = Vec::new();
        for pool in order.chunks_mut(self.pool.max(1)) {
            pool.sort_by(|a, b| durations[*a].total_cmp(&durations[*b]).then(a.cmp(b)));
            let mut batch: Vec<u64> = Vec::new();
            for &index in pool.iter() {
                let padded = durations[index].max(0.0) * (batch.len() + 1) as f64;
                if !batch.is_empty() && (padded > self.seconds || batch.len() >= self.clips) {
                    batches.push(std::mem::take(&mut batch));
                }
                batch.push(index as u64);
            }
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        batches.shuffle(rng);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw as _;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_index_once_and_no_batch_too_long(
            durations in prop::collection::vec(0.0f64..40.0, 0..300),
            seconds in 1.0f64..100.0,
            clips in 1usize..20,
            pool in 1usize..200,
            epoch in 0u64..3,
        ) {
            let bucketing = Bucketing { seconds, clips, pool };
            let batches = bucketing.batches(&durations, Seed::new(1), epoch);
            for batch in &batches {
                let longest = batch.iter().map(|i| durations[*i as usize]).fold(0.0, f64::max);
                let fits = longest * batch.len() as f64 <= seconds || batch.len() == 1;
                prop_assert!(fits && batch.len() <= clips && !batch.is_empty());
            }
            let mut all: Vec<u64> = batches.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..durations.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_differ_and_little_is_padding() {
        let mut rng = Seed::new(2).rng();
        let durations: Vec<f64> =
            (0..3000).map(|_| f64::from(rng.log_uniform(0.5, 20.0))).collect();
        let bucketing = Bucketing::default();
        let epoch = |epoch| bucketing.batches(&durations, Seed::new(3), epoch);
        assert_eq!(epoch(0), epoch(0));
        assert_ne!(epoch(0), epoch(1));
        let padded: f64 = epoch(0)
            .iter()
            .map(|b| b.iter().map(|i| durations[*i as usize]).fold(0.0, f64::max) * b.len() as f64)
            .sum();
        let share = 1.0 - durations.iter().sum::<f64>() / padded;
        assert!(share < 0.1, "{share} of the batches is padding");
        assert!(Bucketing { seconds: f64::NAN, ..bucketing }.validate().is_err());
    }
}
