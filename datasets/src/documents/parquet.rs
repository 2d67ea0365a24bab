//! Parquet files, a row group at a time.

use super::reader::{Context, Record};
use crate::{
    DataError, Result,
    error::nearest,
    files::unreadable,
    table::read::{damaged, read_frame},
};
use polars::prelude::{Column, DataFrame, DataType, ParquetReader, SerReader};
use std::{fs::File, path::Path};

/// Rows of a Parquet file.
#[derive(Debug)]
pub(super) struct ParquetRows {
    /// The row groups, as far as they are asked for: first row, rows.
    groups: std::vec::IntoIter<(usize, usize)>,
    /// The columns to read, the text first.
    columns: Vec<String>,
    frame: DataFrame,
    row: usize,
}

impl ParquetRows {
    /// The rows `start..end`.
    pub fn open(context: &Context, start: u64, end: u64) -> Result<Self> {
        let path = &context.path;
        let mut reader = ParquetReader::new(open(path)?);
        let schema = read_frame(|| reader.schema()).map_err(|reason| damaged(path, reason))?;
        let names: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
        let mut columns = vec![context.spec.field.clone()];
        columns.extend(context.spec.metadata.iter().cloned());
        columns.dedup();
        for column in &columns {
            if !names.contains(column) {
                return Err(DataError::UnknownColumn {
                    path: path.clone(),
                    column: column.clone(),
                    nearest: nearest(column, names.iter().map(String::as_str)),
                    columns: names,
                });
            }
        }
        let mut groups = groups(path)?;
        for group in &mut groups {
            let from = (group.0 as u64).max(start);
            let to = (group.0 as u64 + group.1 as u64).min(end);
            *group = (from as usize, to.saturating_sub(from) as usize);
        }
        groups.retain(|(_, rows)| *rows > 0);
        let groups = groups.into_iter();
        Ok(Self { groups, columns, frame: DataFrame::empty(), row: 0 })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        while self.row >= self.frame.height() {
            let Some(group) = self.groups.next() else { return Ok(None) };
            self.frame = self.read(&context.path, group)?;
            self.row = 0;
        }
        let row = self.row;
        self.row += 1;
        let cell = |column: &Column| column.str().ok()?.get(row).map(str::to_owned);
        let text = self.frame.columns().first().and_then(cell).unwrap_or_default();
        if text.contains('\0') {
            let reason = "its text contains zero bytes: not text";
            return Err(DataError::NotText { path: context.path.clone(), reason });
        }
        let metadata = context.metadata(|name| cell(self.frame.column(name).ok()?));
        Ok(Some(Record { text, metadata, ..Record::default() }))
    }

    /// One row group, all of its columns as text.
    fn read(&self, path: &Path, group: (usize, usize)) -> Result<DataFrame> {
        let file = open(path)?;
        let frame = read_frame(|| {
            let reader = ParquetReader::new(file).with_columns(Some(self.columns.clone()));
            reader.with_slice(Some(group)).finish()
        });
        let frame = frame.map_err(|reason| damaged(path, reason))?;
        let mut columns = Vec::with_capacity(self.columns.len());
        for (place, name) in self.columns.iter().enumerate() {
            // The order of a projection is the file's.
            let column = frame.column(name).map_err(|error| damaged(path, error.to_string()))?;
            if place == 0 && *column.dtype() != DataType::String {
                return Err(DataError::ColumnType {
                    path: path.into(),
                    column: name.clone(),
                    found: column.dtype().to_string(),
                    expected: "text",
                });
            }
            let text = column.cast(&DataType::String);
            columns.push(text.map_err(|error| damaged(path, error.to_string()))?);
        }
        DataFrame::new(frame.height(), columns).map_err(|error| damaged(path, error.to_string()))
    }
}

/// Row groups put together to about `bytes` each: first row, row behind the last.
pub(super) fn slices(path: &Path, bytes: u64) -> Result<Vec<(u64, u64)>> {
    let groups = groups(path)?;
    let size = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.len();
    let rows: usize = groups.iter().map(|(_, rows)| rows).sum();
    let wanted = (bytes as f64 / size.max(1) as f64 * rows as f64).max(1.0) as u64;
    let mut slices: Vec<(u64, u64)> = Vec::new();
    for (first, rows) in groups {
        let (first, end) = (first as u64, (first + rows) as u64);
        match slices.last_mut() {
            Some(last) if end - last.0 <= wanted => last.1 = end,
            _ => slices.push((first, end)),
        }
    }
    Ok(slices)
}

/// The row groups: first row, rows.
fn groups(path: &Path) -> Result<Vec<(usize, usize)>> {
    let mut reader = ParquetReader::new(open(path)?);
    let rows = read_frame(|| {
        let metadata = reader.get_metadata()?;
        Ok(metadata.row_groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>())
    });
    let mut first = 0;
    let rows = rows.map_err(|reason| damaged(path, reason))?;
    let group = |rows| {
        first += rows;
        (first - rows, rows)
    };
    Ok(rows.into_iter().map(group).collect())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| unreadable(path, source))
}
