//! Classification: accuracy, F1, Matthews correlation, top-k accuracy. Numbers agree with
//! scikit-learn, <https://scikit-learn.org/stable/modules/model_evaluation.html>.

mod counts;
mod multi_label;
mod naive_bayes;

pub(crate) use counts::average;
pub use counts::{Average, Counts, Scores};
pub use multi_label::MultiLabel;
pub use naive_bayes::{NaiveBayes, most_frequent};

use crate::error::{MetricError, same_length};
use ndarray::ArrayView2;

/// Confusion matrix: how often each class was predicted for each true one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// `counts[truth][predicted]`; rows and columns are as many as the largest class seen.
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts an example.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        let classes = self.counts.len().max(truth.max(predicted) + 1);
        self.counts.resize(classes, Vec::new());
        for row in &mut self.counts {
            row.resize(classes, 0);
        }
        self.counts[truth][predicted] += 1;
    }

    /// The counts of many examples.
    ///
    /// # Errors
    /// When there are more truths than predictions, or fewer.
    pub fn of(truths: &[usize], predicted: &[usize]) -> Result<Self, MetricError> {
        same_length("predictions", truths.len(), predicted.len())?;
        let mut confusion = Self::default();
        for (truth, predicted) in truths.iter().zip(predicted) {
            confusion.add(*truth, *predicted);
        }
        Ok(confusion)
    }

    /// The counts, `[truth][predicted]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// How many examples were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// The counts of each class.
    pub fn classes(&self) -> Vec<Counts> {
        let column = |class: usize| self.counts.iter().map(|row| row[class]).sum();
        let counts = |(class, row): (usize, &Vec<u64>)| Counts {
            correct: row[class],
            predicted: column(class),
            expected: row.iter().sum(),
        };
        self.counts.iter().enumerate().map(counts).collect()
    }

    /// The share of examples whose class was predicted.
    pub fn accuracy(&self) -> Option<f64> {
        let total = self.total();
        let correct: u64 = self.classes().iter().map(|class| class.correct).sum();
        (total > 0).then(|| correct as f64 / total as f64)
    }

    /// Precision, recall and F1 over all classes that occur, as truth or prediction.
    pub fn scores(&self, how: Average) -> Option<Scores> {
        average(self.classes().into_iter().filter(|class| !class.is_empty()), how)
    }

    /// Matthews correlation for any number of classes, Gorodkin 2004,
    /// <https://doi.org/10.1016/j.compbiolchem.2004.09.006>: 1 is perfect, 0 is chance. 0 where
    /// truths or predictions are all the same, as in scikit-learn.
    pub fn matthews(&self) -> Option<f64> {
        let total = self.total() as f64;
        let (mut correct, mut product, mut predicted, mut expected) = (0.0, 0.0, 0.0, 0.0);
        for class in self.classes() {
            correct += class.correct as f64;
            product += class.predicted as f64 * class.expected as f64;
            predicted += (class.predicted as f64).powi(2);
            expected += (class.expected as f64).powi(2);
        }
        let scale = ((total * total - predicted) * (total * total - expected)).sqrt();
        (total > 0.0).then(|| if scale > 0.0 { (correct * total - product) / scale } else { 0.0 })
    }
}

/// Top-k accuracy: the share of rows whose class is among the `k` with the highest scores; of equal
/// scores the lower class counts as higher. `None` without rows.
///
/// Scores are `[rows, classes]`; a score that is not a number is below all others.
///
/// # Errors
/// When there are more truths than rows, or fewer, or a truth has no score.
pub fn top_k_accuracy(
    scores: ArrayView2<'_, f32>,
    truths: &[usize],
    k: usize,
) -> Result<Option<f64>, MetricError> {
    same_length("truths", scores.nrows(), truths.len())?;
    let mut hits = 0_usize;
    for (row, (scores, truth)) in scores.rows().into_iter().zip(truths).enumerate() {
        let missing = MetricError::Class { row, class: *truth, classes: scores.len() };
        let own = *scores.get(*truth).ok_or(missing)?;
        let above = |(class, score): (usize, &f32)| {
            *score > own || (own.is_nan() && !score.is_nan()) || (*score == own && class < *truth)
        };
        let rank =
            scores.iter().enumerate().filter(|(class, score)| above((*class, score))).count();
        hits += usize::from(rank < k);
    }
    Ok((!truths.is_empty()).then(|| hits as f64 / truths.len() as f64))
}

/// Argmax: the place of the highest score, the first of equal ones.
pub fn argmax<T: Into<f64>>(scores: impl IntoIterator<Item = T>) -> usize {
    let scores = scores.into_iter().map(T::into).enumerate();
    let best =
        scores.fold(
            (0, f64::NEG_INFINITY),
            |best, (place, score)| {
                if score > best.1 { (place, score) } else { best }
            },
        );
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;
    use ndarray::array;

    /// scikit-learn 1.9's numbers; class 3 is predicted once and never true.
    #[test]
    fn as_scikit_learn() {
        let truths = [0, 1, 2, 2, 1, 0, 2, 1];
        let predicted = [0, 2, 2, 2, 1, 0, 1, 3];
        let confusion = Confusion::of(&truths, &predicted).unwrap();
        assert_eq!(confusion.counts()[1], [0, 1, 1, 1]);
        for (how, expected) in [
            (Average::Macro, [0.5416666666666666, 0.5, 0.5166666666666666]),
            (Average::Micro, [0.625; 3]),
            (Average::Weighted, [0.6875, 0.625, 0.65]),
        ] {
            let scores = confusion.scores(how).unwrap();
            let found = [scores.precision, scores.recall, scores.f1];
            assert!(found.iter().zip(expected).all(|(f, e)| close(*f, e)), "{how:?} {found:?}");
        }
        assert!(close(confusion.accuracy().unwrap(), 0.625));
        assert!(close(confusion.matthews().unwrap(), 0.47776654295295456));
    }

    #[test]
    fn nothing_and_one_class() {
        assert_eq!(Confusion::default().accuracy(), None);
        assert_eq!(Confusion::default().scores(Average::Macro), None);
        assert_eq!(Confusion::default().matthews(), None);
        assert_eq!(Confusion::of(&[5, 5], &[5, 5]).unwrap().matthews(), Some(0.0));
        // Classes that never occur do not count.
        let scores = Confusion::of(&[5, 5], &[5, 5]).unwrap().scores(Average::Macro).unwrap();
        assert_eq!(scores.f1, 1.0);
        assert!(Confusion::of(&[1], &[]).is_err());
    }

    #[test]
    fn top_k() {
        let scores = array![[0.1, 0.5, 0.4], [0.3, 0.3, 0.3], [f32::NAN, 0.0, 1.0]];
        let accuracy = |truths: &[usize], k| top_k_accuracy(scores.view(), truths, k);
        assert_eq!(accuracy(&[2, 0, 0], 1), Ok(Some(1.0 / 3.0)));
        assert_eq!(accuracy(&[2, 1, 0], 2), Ok(Some(2.0 / 3.0)));
        assert_eq!(accuracy(&[2, 1, 0], 3), Ok(Some(1.0)));
        assert_eq!(
            accuracy(&[2, 3, 0], 1),
            Err(MetricError::Class { row: 1, class: 3, classes: 3 })
        );
        assert!(accuracy(&[2], 1).is_err());
    }
}
