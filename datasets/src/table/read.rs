//! Files to columns: the only place that knows Polars.

use crate::{
    DataError, Result,
    files::read_bytes,
    guard::{CONTRADICTION, guarded},
    text::{decode, split_line},
};
use chrono::{DateTime, NaiveDateTime};
use polars::prelude::{CsvReadOptions, DataFrame, DataType, ParquetReader, SerReader, TimeUnit};
use std::{io::Cursor, path::Path};

/// A column of a file.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub cells: Cells,
}

/// What a column holds.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    /// As written; `None` where empty.
    Text(Vec<Option<String>>),
    /// NaN where missing.
    Numbers(Vec<f64>),
    /// Dates and times.
    Times(Vec<Option<NaiveDateTime>>),
    /// Something else: lists, structs, binary.
    Other(String),
}

/// A file's columns, all equally long, at least one row.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub columns: Vec<Column>,
    pub rows: usize,
    /// Whether numbers are written `1,5`.
    pub decimal_comma: bool,
}

/// Reads a CSV or Parquet file; which of them is told by its first bytes.
pub(super) fn read(path: &Path) -> Result<Columns> {
    let bytes = read_bytes(path)?;
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path.into(), what: "the file is empty" });
    }
    if bytes.starts_with(b"PAR1") { parquet(path, bytes) } else { csv(path, &bytes) }
}

fn csv(path: &Path, bytes: &[u8]) -> Result<Columns> {
    let text = decode(path, bytes)?;
    let header = text.lines().next().unwrap_or_default();
    let separator = separator(header);
    let names: Vec<String> =
        split_line(header, separator).iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().all(String::is_empty) {
        return Err(DataError::Empty {
            path: path.into(),
            what: "its first line, the header, is empty",
        });
    }
    if text.lines().skip(1).all(|line| line.trim().is_empty()) {
        return Err(DataError::Empty { path: path.into(), what: "there is a header but no row" });
    }
    let text = without_blank_lines(&text, names.len());
    // All columns are read as text, so that a cell that is no number can be shown as it is.
    let options = CsvReadOptions::default()
        .with_infer_schema_length(Some(0))
        .with_raise_if_empty(false)
        .map_parse_options(|parse| parse.with_separator(separator as u8));
    let cursor = Cursor::new(text.clone().into_bytes());
    let frame =
        read_frame(|| options.into_reader_with_file_handle(cursor).finish()).map_err(|reason| {
            ragged(path, &text, separator)
                .unwrap_or_else(|| DataError::Format { path: path.into(), reason })
        })?;
    if let Some(error) = ragged(path, &text, separator) {
        return Err(error);
    }
    let mut columns = columns(path, &frame)?;
    for (column, name) in columns.iter_mut().zip(names) {
        // Polars renames doubles and empty names, and keeps the spaces around a name.
        if !name.is_empty() && column.name.trim() == name {
            column.name = name;
        }
    }
    Ok(Columns { columns, rows: frame.height(), decimal_comma: separator == ';' })
}

/// The text without blank lines. In a file of one column they are missing values, save at the end.
fn without_blank_lines(text: &str, columns: usize) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.trim_end().lines().filter(|line| columns == 1 || !line.trim().is_empty()) {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The separator that the header has most of.
pub(crate) fn separator(header: &str) -> char {
    let count = |separator| split_line(header, separator).len();
    // Later ones win ties in `max_by_key`, and a comma is the likeliest.
    ['|', '\t', ';', ','].into_iter().max_by_key(|s| count(*s)).unwrap_or(',')
}

/// The first row whose number of cells is not the header's. Files with line breaks inside quotes
/// are left to Polars: lines are not rows there.
fn ragged(path: &Path, text: &str, separator: char) -> Option<DataError> {
    let mut lines = text.lines();
    let header = lines.next()?;
    let expected = split_line(header, separator).len();
    let odd = |text: &str| text.matches('"').count() % 2 == 1;
    let balanced = !odd(text);
    for (row, line) in lines.filter(|line| !line.trim().is_empty()).enumerate() {
        if balanced && odd(line) {
            return None;
        }
        let found = split_line(line, separator).len();
        if found != expected {
            return Some(DataError::Ragged { path: path.into(), row: row + 1, expected, found });
        }
    }
    None
}

fn parquet(path: &Path, bytes: Vec<u8>) -> Result<Columns> {
    let damaged = |reason| damaged(path, reason);
    // The last four bytes repeat the first: a file cut short lacks them.
    if bytes.len() < 12 || !bytes.ends_with(b"PAR1") {
        return Err(damaged("it is cut short".to_owned()));
    }
    let frame = read_frame(|| ParquetReader::new(Cursor::new(bytes)).finish()).map_err(damaged)?;
    if frame.height() == 0 {
        return Err(DataError::Empty { path: path.into(), what: "there are columns but no row" });
    }
    let columns = columns(path, &frame)?;
    Ok(Columns { columns, rows: frame.height(), decimal_comma: false })
}

/// A Parquet file that cannot be read.
pub(crate) fn damaged(path: &Path, reason: String) -> DataError {
    let reason = format!("Parquet, but damaged or of an unknown kind: {reason}");
    DataError::Format { path: path.into(), reason }
}

/// Runs one of Polars' readers; why it gave nothing, in a line.
pub(crate) fn read_frame<T>(
    read: impl FnOnce() -> polars::prelude::PolarsResult<T>,
) -> std::result::Result<T, String> {
    match guarded(read) {
        Some(Ok(read)) => Ok(read),
        // Polars' messages go on for lines with advice on its own options.
        Some(Err(error)) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        None => Err(CONTRADICTION.to_owned()),
    }
}

fn columns(path: &Path, frame: &DataFrame) -> Result<Vec<Column>> {
    let failed = |error: polars::prelude::PolarsError| DataError::Format {
        path: path.into(),
        reason: error.to_string(),
    };
    let column = |column: &polars::prelude::Column| {
        let cells = match column.dtype() {
            DataType::String => {
                Cells::Text(column.str()?.iter().map(|cell| cell.map(str::to_owned)).collect())
            }
            DataType::Date | DataType::Datetime(..) => {
                let times = column.cast(&DataType::Datetime(TimeUnit::Microseconds, None))?;
                let times = times.cast(&DataType::Int64)?;
                let time = |t: i64| DateTime::from_timestamp_micros(t).map(|t| t.naive_utc());
                Cells::Times(times.i64()?.iter().map(|cell| cell.and_then(time)).collect())
            }
            kind if kind.is_primitive_numeric() || *kind == DataType::Boolean => {
                let numbers = column.cast(&DataType::Float64)?;
                Cells::Numbers(numbers.f64()?.iter().map(|cell| cell.unwrap_or(f64::NAN)).collect())
            }
            // A column of nothing but nulls.
            DataType::Null => Cells::Numbers(vec![f64::NAN; column.len()]),
            other => Cells::Other(other.to_string()),
        };
        Ok(Column { name: column.name().to_string(), cells })
    };
    frame.columns().iter().map(|c| column(c).map_err(failed)).collect()
}
