//! A part of the examples that is held out of training.

use crate::{DataError, Result};
use kiln_host::Seed;
use rand::seq::index::sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Size of the held-out set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Holdout {
    /// A share of the examples, above 0 and below 1; at least one example.
    Share(f64),
    /// So many examples, fewer than there are.
    Count(usize),
}

impl Holdout {
    /// Whether each of `length` examples is held out; the seed alone decides which.
    ///
    /// # Errors
    /// When nothing would be held out, or nothing would be left.
    pub fn mask(self, length: usize, seed: Seed) -> Result<Vec<bool>> {
        let count = match self {
            Self::Share(share) if share > 0.0 && share < 1.0 => {
                ((share * length as f64).round() as usize).max(1)
            }
            Self::Share(share) => {
                return Err(DataError::config("share", share, "a number above 0 and below 1"));
            }
            Self::Count(count) => count,
        };
        if count == 0 || count >= length {
            let expected = format!("at least 1 and fewer than the {length} examples");
            return Err(DataError::config("holdout", count, expected));
        }
        let mut held = vec![false; length];
        for index in sample(&mut seed.part("holdout").rng(), length, count) {
            held[index] = true;
        }
        Ok(held)
    }

    /// The examples to train on and those held out, each in the order they had.
    ///
    /// # Errors
    /// As [`Holdout::mask`].
    pub fn split<T>(self, examples: Vec<T>, seed: Seed) -> Result<(Vec<T>, Vec<T>)> {
        let held = self.mask(examples.len(), seed)?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (example, held) in examples.into_iter().zip(held) {
            if held { test.push(example) } else { train.push(example) }
        }
        Ok((train, test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_ordered_and_repeatable() {
        let split = |seed| Holdout::Share(0.25).split((0..20).collect(), Seed::new(seed)).unwrap();
        let (train, test) = split(1);
        assert_eq!((train.len(), test.len()), (15, 5));
        assert!(train.is_sorted() && test.is_sorted());
        let mut all = [train, test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        assert_eq!(
            Holdout::Count(3).mask(4, Seed::new(1)).unwrap().iter().filter(|h| **h).count(),
            3
        );
    }

    #[test]
    fn parts_that_cannot_be() {
        for holdout in [Holdout::Share(0.0), Holdout::Share(1.0), Holdout::Share(f64::NAN)] {
            assert!(holdout.mask(10, Seed::new(1)).is_err());
        }
        let text = Holdout::Count(4).mask(4, Seed::new(1)).unwrap_err().to_string();
        assert_eq!(text, "`holdout` is 4, expected at least 1 and fewer than the 4 examples");
    }
}
