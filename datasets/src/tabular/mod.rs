//! Tabular files: one reader of delimited text, one of Parquet; every reader of rows stands on
//! them.

pub(crate) mod delimited;
pub(crate) mod parquet;

use crate::{DataError, error::nearest};
use std::path::Path;

/// The error of a column that a table does not have.
pub(crate) fn unknown_column(path: &Path, column: &str, columns: &[String]) -> DataError {
    DataError::UnknownColumn {
        path: path.into(),
        column: column.to_owned(),
        nearest: nearest(column, columns.iter().map(String::as_str)),
        columns: columns.to_vec(),
    }
}
