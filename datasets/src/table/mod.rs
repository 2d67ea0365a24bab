//! Tables: CSV and Parquet files to series.
//!
//! A wide table has a column a variable; its target columns become the channels of one series. A
//! long table also has an id column; each id becomes a series.

mod assemble;
mod read;
mod time;

use crate::{Result, Series};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Which file to read, and what its columns mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// A CSV or Parquet file.
    pub path: PathBuf,
    /// The column of times; without it rows are taken to be evenly spaced and in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The columns to forecast; empty for all numeric columns without another role.
    #[serde(default)]
    pub targets: Vec<String>,
    /// The column that tells the series of a long table apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Covariates whose future is known: prices set ahead, holidays. They become the last channels.
    #[serde(default)]
    pub known: Vec<String>,
}

impl TableSpec {
    /// A wide table without times, all numeric columns being targets.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// With a column of times.
    pub fn with_time(mut self, column: impl Into<String>) -> Self {
        self.time = Some(column.into());
        self
    }

    /// With targets.
    pub fn with_targets<T: Into<String>>(mut self, columns: impl IntoIterator<Item = T>) -> Self {
        self.targets = columns.into_iter().map(Into::into).collect();
        self
    }

    /// With a column that splits the table into series.
    pub fn with_id(mut self, column: impl Into<String>) -> Self {
        self.id = Some(column.into());
        self
    }

    /// With covariates whose future is known.
    pub fn with_known<T: Into<String>>(mut self, columns: impl IntoIterator<Item = T>) -> Self {
        self.known = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Reads the table: one series, or one an id in order of first appearance.
    ///
    /// With a time column rows are sorted, the frequency is inferred, and gaps become rows of NaN.
    /// With known covariates, the rows after the last with a target value are
    /// [`Series::future`].
    ///
    /// # Errors
    /// When the file or a column is missing, damaged or not what the spec says; the error names
    /// file, column and row.
    pub fn read(&self) -> Result<Vec<Series>> {
        let columns = read::read(&self.path)?;
        assemble::assemble(self, &columns)
    }

    /// The name of a series that has no id: its file's.
    fn stem(&self) -> String {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str());
        stem.unwrap_or("series").to_owned()
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
