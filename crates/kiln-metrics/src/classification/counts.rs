//! Precision, recall and F1 of anything that is counted.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// True positives, predictions and support of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Predicted where it was expected: true positives.
    pub correct: u64,
    /// Predicted.
    pub predicted: u64,
    /// Expected: the support.
    pub expected: u64,
}

/// Precision, recall and their harmonic mean, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The share of what was predicted that is correct; 0 where nothing was.
    pub precision: f64,
    /// The share of what was expected that was found; 0 where nothing was.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

/// How scores of several classes become one, as scikit-learn names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// All classes count the same.
    #[default]
    Macro,
    /// All examples count the same: the counts are summed.
    Micro,
    /// Classes count by how often they are expected.
    Weighted,
}

impl Counts {
    /// The scores of this class; 0 where there is nothing to divide by.
    pub fn scores(&self) -> Scores {
        let share =
            |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
        Scores {
            precision: share(self.correct, self.predicted),
            recall: share(self.correct, self.expected),
            f1: share(2 * self.correct, self.predicted + self.expected),
        }
    }

    /// Whether the class is neither predicted nor expected.
    pub fn is_empty(&self) -> bool {
        self.predicted == 0 && self.expected == 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.predicted += other.predicted;
        self.expected += other.expected;
    }
}

/// The scores of several classes as one; `None` without a class, or without weight.
pub(crate) fn average(
    classes: impl IntoIterator<Item = Counts>,
    average: Average,
) -> Option<Scores> {
    let (mut sum, mut mean, mut weights) = (Counts::default(), Scores::default(), 0.0);
    for counts in classes {
        sum += counts;
        let weight = if average == Average::Weighted { counts.expected as f64 } else { 1.0 };
        let scores = counts.scores();
        mean.precision += weight * scores.precision;
        mean.recall += weight * scores.recall;
        mean.f1 += weight * scores.f1;
        weights += weight;
    }
    match average {
        Average::Micro => (!sum.is_empty()).then(|| sum.scores()),
        Average::Macro | Average::Weighted => (weights > 0.0).then(|| Scores {
            precision: mean.precision / weights,
            recall: mean.recall / weights,
            f1: mean.f1 / weights,
        }),
    }
}
