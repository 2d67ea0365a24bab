//! Batches of series windows: on the host, where they are put together, and on the device.
//!
//! Missing values are masked, never imputed: on the host they are NaN; on the device they are zero
//! under a mask that is true where a value is missing. Scaling statistics leave them out, and what
//! the network sees in their place is said by [`crate::scaler::MissingFill`].

use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::Backend;
use ndarray::Array3;

/// A batch on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesHostBatch {
    /// `[batch, context, channels]`; NaN where a value is missing.
    pub past: Array3<f32>,
    /// `[batch, horizon, channels]`; NaN where a value is missing or unknown. All channels, though
    /// only those of covariates need be known when a forecast is made.
    pub future: Option<Array3<f32>>,
    /// The last this many channels are covariates whose future is known.
    pub known: usize,
    /// `[batch]`, ids as [`crate::config::resolution_id`] gives them.
    pub resolution: Option<Vec<u32>>,
    /// `[batch]`, which series each window was cut from, for pretext tasks.
    pub series: Option<Vec<u32>>,
    /// `[batch]`, which group that series belongs to, for pretext tasks.
    pub group: Option<Vec<u32>>,
}

impl SeriesHostBatch {
    /// Windows in the batch.
    pub fn len(&self) -> usize {
        self.past.dim().0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the batch to a device.
    pub fn upload<B: Backend>(&self, device: &B::Device) -> SeriesBatch<B> {
        let (past, missing) = values(&self.past, device);
        let (future, future_missing) = match &self.future {
            Some(future) => {
                let (future, missing) = values(future, device);
                (Some(future), missing)
            }
            None => (None, None),
        };
        let ids = |ids: &Option<Vec<u32>>| {
            ids.as_ref().map(|ids| {
                let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                let count = ids.len();
                Tensor::from_data(TensorData::new(ids, [count]), device)
            })
        };
        SeriesBatch {
            past,
            missing,
            future,
            future_missing,
            known: self.known,
            resolution: ids(&self.resolution),
            series: ids(&self.series),
            group: ids(&self.group),
        }
    }
}

/// Values with zeros for NaN, and where those were, if anywhere.
fn values<B: Backend>(
    values: &Array3<f32>,
    device: &B::Device,
) -> (Tensor<B, 3>, Option<Tensor<B, 3, Bool>>) {
    let (batch, rows, channels) = values.dim();
    let shape = [batch, rows, channels];
    // In logical order, whatever the memory layout.
    let mut dense: Vec<f32> = values.iter().copied().collect();
    let missing = dense.iter().any(|value| !value.is_finite()).then(|| {
        let mask: Vec<bool> = dense.iter().map(|value| !value.is_finite()).collect();
        Tensor::from_data(TensorData::new(mask, shape), device)
    });
    for value in &mut dense {
        if !value.is_finite() {
            *value = 0.0;
        }
    }
    (Tensor::from_data(TensorData::new(dense, shape), device), missing)
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub struct SeriesBatch<B: Backend> {
    /// `[batch, context, channels]`, finite everywhere.
    pub past: Tensor<B, 3>,
    /// `[batch, context, channels]`, true where a value is missing; `None` when none is.
    pub missing: Option<Tensor<B, 3, Bool>>,
    /// `[batch, horizon, channels]`, finite everywhere.
    pub future: Option<Tensor<B, 3>>,
    /// `[batch, horizon, channels]`, true where a value is missing; `None` when none is.
    pub future_missing: Option<Tensor<B, 3, Bool>>,
    /// The last this many channels are covariates whose future is known.
    pub known: usize,
    /// `[batch]`, ids as [`crate::config::resolution_id`] gives them.
    pub resolution: Option<Tensor<B, 1, Int>>,
    /// `[batch]`
    pub series: Option<Tensor<B, 1, Int>>,
    /// `[batch]`
    pub group: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> SeriesBatch<B> {
    /// A batch of complete windows without a future, `[batch, context, channels]`.
    pub fn new(past: Tensor<B, 3>) -> Self {
        Self {
            past,
            missing: None,
            future: None,
            future_missing: None,
            known: 0,
            resolution: None,
            series: None,
            group: None,
        }
    }

    /// Windows, rows and channels of the past.
    pub fn dims(&self) -> [usize; 3] {
        self.past.dims()
    }
}

/// A batch that does not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A size differs.
    #[error("the batch has {found} {what}, the model expects {expected}")]
    Size {
        /// Of what: `rows of history`, `channels`.
        what: &'static str,
        /// The model's.
        expected: usize,
        /// The batch's.
        found: usize,
    },
    /// The model needs something that the batch lacks.
    #[error("the model needs {0}, which the batch does not have")]
    Lacks(&'static str),
    /// The model can be trained but not asked for forecasts.
    #[error("this model cannot forecast: {0}")]
    Unable(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use ndarray::array;

    #[test]
    fn missing_values_become_zeros_under_a_mask() {
        let host = SeriesHostBatch {
            past: array![[[1.0, f32::NAN], [2.0, 3.0]]],
            future: Some(array![[[4.0, 5.0]]]),
            series: Some(vec![7]),
            ..Default::default()
        };
        assert_eq!(host.len(), 1);
        let batch = host.upload::<Flex>(&Default::default());
        assert_eq!(batch.dims(), [1, 2, 2]);
        assert_eq!(batch.past.into_data().to_vec::<f32>().unwrap(), [1.0, 0.0, 2.0, 3.0]);
        let missing = batch.missing.unwrap().into_data().convert::<bool>();
        assert_eq!(missing.to_vec::<bool>().unwrap(), [false, true, false, false]);
        assert!(batch.future_missing.is_none(), "nothing is missing there");
        assert_eq!(batch.series.unwrap().into_scalar(), 7);
    }

    #[test]
    fn memory_layout_does_not_matter() {
        let rows = array![[[1.0_f32, 2.0], [3.0, 4.0]]];
        let turned = rows.clone().permuted_axes([0, 2, 1]);
        let host = SeriesHostBatch { past: turned, ..Default::default() };
        let batch = host.upload::<Flex>(&Default::default());
        assert_eq!(batch.past.into_data().to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
    }
}
