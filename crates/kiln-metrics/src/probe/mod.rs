//! Probes: how much of a label a frozen representation shows, Alain and Bengio 2016,
//! <https://arxiv.org/abs/1610.01644>. A number means something beside the same probe's on a
//! randomly initialised model.

mod lbfgs;
mod logistic;
mod neighbours;

pub use logistic::{LogisticProbe, ProbeConfig};
pub use neighbours::NeighbourProbe;

use crate::error::{MetricError, same_length};
use ndarray::ArrayView2;

/// Refuses features `[rows, features]` that are not finite, and labels that are not as many.
fn check(
    features: ArrayView2<'_, f32>,
    labels: &[usize],
    classes: usize,
) -> Result<(), MetricError> {
    same_length("labels", features.nrows(), labels.len())?;
    if labels.is_empty() {
        return Err(MetricError::Empty { what: "rows" });
    }
    if let Some((row, class)) = labels.iter().enumerate().find(|(_, class)| **class >= classes) {
        return Err(MetricError::Class { row, class: *class, classes });
    }
    finite(features)
}

fn finite(features: ArrayView2<'_, f32>) -> Result<(), MetricError> {
    match features.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, feature), value)) => {
            Err(MetricError::NotFinite { row, feature, value: *value })
        }
        None => Ok(()),
    }
}

/// Features `[rows, width]`, all finite, as many columns as were fitted.
fn like_fitted(features: ArrayView2<'_, f32>, width: usize) -> Result<(), MetricError> {
    same_length("features", width, features.ncols())?;
    finite(features)
}

#[cfg(test)]
mod tests;
