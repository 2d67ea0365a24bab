//! Multi-label classification: any number of labels an example. Numbers agree with scikit-learn.

use super::counts::{Average, Counts, Scores, average};
use crate::MetricError;
use std::collections::BTreeSet;

/// Multi-label scores: how often each label was predicted, expected, and both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiLabel {
    labels: Vec<Counts>,
    rows: u64,
    exact: u64,
}

impl MultiLabel {
    /// Nothing yet, of so many labels.
    pub fn new(labels: usize) -> Self {
        Self { labels: vec![Counts::default(); labels], rows: 0, exact: 0 }
    }

    /// Counts an example: its labels, and those predicted, in any order.
    ///
    /// # Errors
    /// When one of them is not below the number of labels; nothing is counted then.
    pub fn add(&mut self, truth: &[usize], predicted: &[usize]) -> Result<(), MetricError> {
        let (row, classes) = (self.rows as usize, self.labels.len());
        if let Some(class) = truth.iter().chain(predicted).find(|class| **class >= classes) {
            return Err(MetricError::Class { row, class: *class, classes });
        }
        let [truth, predicted] = [truth, predicted].map(|set| set.iter().collect::<BTreeSet<_>>());
        for label in &truth {
            self.labels[**label].expected += 1;
            self.labels[**label].correct += u64::from(predicted.contains(*label));
        }
        for label in &predicted {
            self.labels[**label].predicted += 1;
        }
        self.rows += 1;
        self.exact += u64::from(truth == predicted);
        Ok(())
    }

    /// The counts of each label.
    pub fn labels(&self) -> &[Counts] {
        &self.labels
    }

    /// Precision, recall and F1 over all labels; one that never occurs counts as 0.
    pub fn scores(&self, how: Average) -> Option<Scores> {
        average(self.labels.iter().copied(), how).filter(|_| self.rows > 0)
    }

    /// The share of examples of which every label is right.
    pub fn subset_accuracy(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.exact as f64 / self.rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    /// scikit-learn 1.9's numbers, `zero_division=0`; the last label never occurs.
    #[test]
    fn as_scikit_learn() {
        let mut scores = MultiLabel::new(4);
        assert_eq!(scores.scores(Average::Macro), None);
        for (truth, predicted) in
            [(&[2, 0][..], &[0][..]), (&[1], &[1, 2]), (&[0, 1], &[0]), (&[], &[])]
        {
            scores.add(truth, predicted).unwrap();
        }
        let f1 = |how| scores.scores(how).unwrap().f1;
        assert!(close(f1(Average::Macro), 0.41666666666666663));
        assert!(close(f1(Average::Micro), 0.6666666666666666));
        assert!(close(f1(Average::Weighted), 0.6666666666666666));
        assert_eq!(scores.subset_accuracy(), Some(0.25));
        let before = scores.clone();
        assert!(scores.add(&[0], &[4]).is_err());
        assert_eq!(scores, before);
    }
}
