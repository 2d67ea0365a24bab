//! Ranking metrics: nDCG, MRR, recall and MAP, with BM25 as the baseline. Conventions are those of
//! trec_eval, <https://github.com/usnistgov/trec_eval>, but that equal scores keep their order.

mod bm25;

pub use bm25::Bm25;

use serde::{Deserialize, Serialize};

/// Gain of a relevance grade in nDCG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gain {
    /// The grade: Järvelin and Kekäläinen 2002, <https://doi.org/10.1145/582415.582418>, and
    /// trec_eval.
    #[default]
    Linear,
    /// `2^grade - 1`: Burges et al. 2005, <https://doi.org/10.1145/1102351.1102363>.
    Exponential,
}

impl Gain {
    fn of(self, grade: u32) -> f64 {
        match self {
            Self::Linear => f64::from(grade),
            Self::Exponential => f64::from(grade).exp2() - 1.0,
        }
    }
}

/// Descending argsort: the indices of scores from the highest to the lowest; equal ones in their
/// order, what is not a number last.
pub fn rank(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // A sum with zero has no sign of zero, which `total_cmp` would see.
    let key = |place: usize| {
        let score = scores[place] + 0.0;
        if score.is_nan() { (true, f32::NEG_INFINITY) } else { (false, score) }
    };
    order.sort_by(|a, b| {
        let ((a_nan, a), (b_nan, b)) = (key(*a), key(*b));
        a_nan.cmp(&b_nan).then(b.total_cmp(&a))
    });
    order
}

/// A ranked result list: the relevance grades of what came back for a query, best first.
///
/// All measures are `None` for a query that nothing is relevant to: it leaves the mean. A cut of
/// `usize::MAX` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranked {
    /// The grade of each document that came back; 0 is irrelevant, or not judged.
    pub grades: Vec<u32>,
    /// The grades of all documents that are relevant to the query, in any order.
    pub relevant: Vec<u32>,
}

impl Ranked {
    /// nDCG@k, the normalised discounted cumulative gain of the first `k`.
    pub fn ndcg(&self, k: usize, gain: Gain) -> Option<f64> {
        let mut ideal = self.relevant.clone();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        let dcg = |grades: &[u32]| {
            let discounted = grades.iter().zip(2..).take(k);
            discounted.map(|(grade, rank)| gain.of(*grade) / f64::from(rank).log2()).sum::<f64>()
        };
        let best = dcg(&ideal);
        (best > 0.0).then(|| dcg(&self.grades) / best)
    }

    /// Reciprocal rank: one over the rank of the first relevant document; 0 where it is not among
    /// the first `k`.
    pub fn reciprocal_rank(&self, k: usize) -> Option<f64> {
        let first = self.grades.iter().take(k).position(|grade| *grade > 0);
        self.known().map(|_| first.map_or(0.0, |place| 1.0 / (place + 1) as f64))
    }

    /// Recall@k: the share of relevant documents among the first `k`.
    pub fn recall(&self, k: usize) -> Option<f64> {
        let found = self.grades.iter().take(k).filter(|grade| **grade > 0).count();
        self.known().map(|known| found as f64 / known)
    }

    /// Average precision: the mean, over all relevant documents, of the precision at their rank; 0
    /// for those not among the first `k`.
    pub fn average_precision(&self, k: usize) -> Option<f64> {
        let (mut found, mut sum) = (0.0, 0.0);
        for (place, grade) in self.grades.iter().take(k).enumerate() {
            if *grade > 0 {
                found += 1.0;
                sum += found / (place + 1) as f64;
            }
        }
        self.known().map(|known| sum / known)
    }

    /// How many documents are relevant.
    fn known(&self) -> Option<f64> {
        let known = self.relevant.iter().filter(|grade| **grade > 0).count();
        (known > 0).then_some(known as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    fn ranked() -> Ranked {
        Ranked { grades: vec![3, 2, 0, 1, 0, 2], relevant: vec![1, 2, 2, 3] }
    }

    /// scikit-learn's `ndcg_score`, of the grades and of `2^grade - 1`.
    #[test]
    fn gains() {
        let ndcg = |k, gain| ranked().ndcg(k, gain).unwrap();
        assert!(close(ndcg(4, Gain::Linear), 0.8243313720732657));
        assert!(close(ndcg(usize::MAX, Gain::Linear), 0.9494802277070813));
        assert!(close(ndcg(4, Gain::Exponential), 0.8614122292143939));
    }

    #[test]
    fn by_hand() {
        let ranked = Ranked { grades: vec![0, 1, 0, 2, 0], relevant: vec![1, 2, 1] };
        assert_eq!(ranked.reciprocal_rank(10), Some(0.5));
        assert_eq!(ranked.reciprocal_rank(1), Some(0.0));
        assert_eq!(ranked.recall(2), Some(1.0 / 3.0));
        assert_eq!(ranked.recall(10), Some(2.0 / 3.0));
        assert!(close(ranked.average_precision(10).unwrap(), (0.5 + 0.5) / 3.0));
        assert!(close(ranked.average_precision(3).unwrap(), 0.5 / 3.0));
        let nothing = Ranked { grades: vec![0], relevant: vec![0] };
        assert_eq!(nothing.ndcg(5, Gain::Linear), None);
        assert_eq!((nothing.recall(5), nothing.reciprocal_rank(5)), (None, None));
        assert_eq!(nothing.average_precision(5), None);
    }

    #[test]
    fn orders() {
        assert_eq!(rank(&[-0.0, 0.0]), [0, 1]);
        assert_eq!(rank(&[0.5, f32::NAN, 2.0, 0.5, f32::NEG_INFINITY]), [2, 0, 3, 4, 1]);
        assert!(rank(&[]).is_empty());
    }
}
