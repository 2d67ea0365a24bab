//! Files to columns.

use crate::{
    DataError, Result,
    files::read_text,
    tabular::{
        delimited::{Dialect, Records, UNCLOSED, lines},
        parquet::{ParquetFile, is_parquet},
    },
};
use chrono::{DateTime, NaiveDateTime};
use polars::prelude::{DataFrame, DataType, TimeUnit};
use std::path::Path;

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
    let table = if is_parquet(path)? { parquet(path)? } else { csv(path)? };
    match table.rows {
        0 => Err(DataError::Empty { path: path.into(), what: "there are columns but no row" }),
        _ => Ok(table),
    }
}

fn csv(path: &Path) -> Result<Columns> {
    let text = read_text(path)?;
    let empty = |what| Err(DataError::Empty { path: path.into(), what });
    if text.is_empty() {
        return empty("the file is empty");
    }
    let dialect = Dialect::sniff(text.lines().next().unwrap_or_default());
    let mut records = Records { lines: lines(&text), dialect, blank: true };
    let header = records.next().transpose()?.map(|record| record.text).unwrap_or_default();
    let names = names(&dialect.cells(&header));
    if names.iter().all(String::is_empty) {
        return empty("its first line, the header, is empty");
    }
    // In a file of one column blank lines are missing values, save at the end.
    records.blank = names.len() == 1;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
    let (mut rows, mut kept) = (0, 0);
    for record in records {
        let record = record?;
        if !record.closed {
            let reason = format!("line {}: {UNCLOSED}", record.place);
            return Err(DataError::Format { path: path.into(), reason });
        }
        rows += 1;
        let cells = dialect.cells(&record.text);
        if cells.len() != names.len() {
            let (expected, found) = (names.len(), cells.len());
            return Err(DataError::Ragged { path: path.into(), row: rows, expected, found });
        }
        if !record.text.trim().is_empty() {
            kept = rows;
        }
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push((!cell.is_empty()).then(|| cell.into_owned()));
        }
    }
    if kept == 0 {
        return empty("there is a header but no row");
    }
    let column = |(name, mut cells): (String, Vec<Option<String>>)| {
        cells.truncate(kept);
        Column { name, cells: Cells::Text(cells) }
    };
    let columns = names.into_iter().zip(columns).map(column).collect();
    Ok(Columns { columns, rows: kept, decimal_comma: dialect.delimiter == ';' })
}

/// The names of a header; one that comes again is told apart by a number.
fn names(cells: &[impl AsRef<str>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cell in cells {
        let name = cell.as_ref().trim();
        let again = |name: &String| !name.is_empty() && names.contains(name);
        let numbered = |n| format!("{name}_duplicated_{n}");
        let own = Some(name.to_owned()).filter(|name| !again(name));
        let own = own.or_else(|| (0..).map(numbered).find(|name| !again(name)));
        names.push(own.unwrap_or_default());
    }
    names
}

fn parquet(path: &Path) -> Result<Columns> {
    let frame = ParquetFile::open(path)?.read()?;
    let columns = columns(path, &frame)?;
    Ok(Columns { columns, rows: frame.height(), decimal_comma: false })
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
