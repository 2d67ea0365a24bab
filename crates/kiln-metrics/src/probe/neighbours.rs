//! k-nearest-neighbours classification.

use super::{check, like_fitted};
use crate::{MetricError, classification::argmax};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Rows that are compared with all fitted ones at once.
const BLOCK: usize = 256;

/// A k-nearest-neighbours classifier by cosine similarity, Wu et al. 2018,
/// <https://arxiv.org/abs/1805.01978>: nothing is learned, so nothing hides what the
/// representation lacks.
#[derive(Clone, Debug)]
pub struct NeighbourProbe {
    /// Rows of length 1, `[rows, features]`.
    rows: Array2<f32>,
    labels: Vec<usize>,
    classes: usize,
}

impl NeighbourProbe {
    /// Remembers features `[rows, features]` and a class a row.
    ///
    /// # Errors
    /// When there are no rows, not as many labels, a label is not below `classes`, or a feature is
    /// not finite.
    pub fn fit(
        features: ArrayView2<'_, f32>,
        labels: &[usize],
        classes: usize,
    ) -> Result<Self, MetricError> {
        check(features, labels, classes)?;
        Ok(Self { rows: unit(features), labels: labels.to_vec(), classes })
    }

    /// The class of each row of features `[rows, features]`: that of most of its `k` nearest
    /// neighbours, of equally many the nearer ones'.
    ///
    /// # Errors
    /// When `k` is 0, there are not as many features as were fitted, or one is not finite.
    pub fn predict(
        &self,
        features: ArrayView2<'_, f32>,
        k: usize,
    ) -> Result<Vec<usize>, MetricError> {
        like_fitted(features, self.rows.ncols())?;
        if k == 0 {
            let (key, expected) = ("k", "at least 1");
            return Err(MetricError::Setting { key, found: k.to_string(), expected });
        }
        let rows = unit(features);
        let blocks: Vec<_> = rows.axis_chunks_iter(Axis(0), BLOCK).collect();
        let classes = blocks.into_par_iter().flat_map_iter(|block| {
            let similarity = block.dot(&self.rows.t());
            let vote = |row: ndarray::ArrayView1<'_, f32>| self.vote(row.to_vec(), k);
            similarity.rows().into_iter().map(vote).collect::<Vec<_>>()
        });
        Ok(classes.collect())
    }

    /// The class of a row that is so similar to each fitted one.
    fn vote(&self, similarity: Vec<f32>, k: usize) -> usize {
        let mut order: Vec<usize> = (0..similarity.len()).collect();
        let nearer =
            |a: &usize, b: &usize| similarity[*b].total_cmp(&similarity[*a]).then(a.cmp(b));
        if k < order.len() {
            order.select_nth_unstable_by(k - 1, nearer);
            order.truncate(k);
        }
        // In order, so that sums round alike.
        order.sort_unstable_by(nearer);
        let mut votes = vec![(0_usize, 0.0_f64); self.classes];
        for neighbour in order {
            let vote = &mut votes[self.labels[neighbour]];
            vote.0 += 1;
            vote.1 += f64::from(similarity[neighbour]);
        }
        let most = votes.iter().map(|vote| vote.0).max().unwrap_or(0);
        argmax(
            votes.iter().map(|(count, sum)| if *count == most { *sum } else { f64::NEG_INFINITY }),
        )
    }
}

/// Rows of length 1; one of zeros stays.
fn unit(features: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut rows = features.to_owned();
    for mut row in rows.rows_mut() {
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.mapv_inplace(|x| (f64::from(x) / length) as f32);
        }
    }
    rows
}
