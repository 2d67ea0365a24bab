//! What an evaluation measures.

/// What is measured, and how it is averaged and shown.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// As in `results.json`: `ETTh1`.
    pub dataset: String,
    /// As in `results.json`: `test`.
    pub split: String,
    /// Rows a forecast.
    pub horizon: usize,
    /// Rows in the season that baselines are told; 1 for none.
    pub season: usize,
    /// The season of the naive forecast that `mase` is scaled by: `season`, but 1 for M4's weeks.
    pub mase_season: usize,
    /// Over what averages run.
    pub average: Average,
    /// The rows of history that baselines see: the model's context for a comparison on equal terms;
    /// `None` for all there is.
    pub baseline_context: Option<usize>,
    /// Windows a call of the model.
    pub batch: usize,
    /// Windows shown as pictures.
    pub pictures: usize,
}

/// Over what averages run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// Over all values of all windows: long-term forecasting benchmarks.
    Values,
    /// Over series, each the average of its values: M4.
    Series,
}

impl Protocol {
    /// The task's name in `results.json`: `forecast-96`.
    pub fn task(&self) -> String {
        format!("forecast-{}", self.horizon)
    }
}

/// A forecast to be made and scored: a case and the first row of its forecast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) case: usize,
    pub(super) origin: usize,
}
