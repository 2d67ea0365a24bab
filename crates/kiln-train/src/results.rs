//! `results.json`: every metric beside its baselines.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A metric with its baselines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// What was asked of the model: `forecast-96`, `transcribe`.
    pub task: String,
    /// The data set.
    pub dataset: String,
    /// Which part of it: `test`, `validation`.
    pub split: String,
    /// Lower case: `mse`, `mase`, `wer`.
    pub metric: String,
    /// The model's number.
    pub value: f64,
    /// The baselines' numbers by name: `naive`, `seasonal-naive`, `drift`, `theta`.
    pub baselines: BTreeMap<String, f64>,
}

/// A picture or text for the report, made by a modality.
#[derive(Clone, Debug)]
pub struct Section {
    /// A heading.
    pub title: String,
    /// One sentence on what is seen, plain text.
    pub caption: String,
    /// What is shown.
    pub body: SectionBody,
}

/// What a section shows.
#[derive(Clone, Debug)]
pub enum SectionBody {
    /// A complete `<svg>` element.
    Svg(String),
    /// A table: its head and its rows, plain text.
    Table {
        /// Column titles.
        head: Vec<String>,
        /// Rows as wide as the head.
        rows: Vec<Vec<String>>,
    },
    /// Preformatted plain text.
    Text(String),
}

/// What an evaluation gives.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// For `results.json` and the printed table.
    pub rows: Vec<ResultRow>,
    /// For `report.html`.
    pub sections: Vec<Section>,
}
