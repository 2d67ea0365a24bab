//! Parquet files, a row group at a time.

use super::record::{Context, Record};
use crate::{
    DataError, Result,
    files::unreadable,
    tabular::parquet::{ParquetFile, RowGroups, damaged},
};
use polars::prelude::{Column, DataFrame, DataType};
use std::path::Path;

/// Rows of a Parquet file.
#[derive(Debug)]
pub(super) struct ParquetRows {
    /// The row groups, as far as they are asked for.
    groups: RowGroups,
    /// The columns to read, the text first.
    columns: Vec<String>,
    frame: DataFrame,
    row: usize,
}

impl ParquetRows {
    /// The rows `start..end`.
    pub fn open(context: &Context, start: u64, end: u64) -> Result<Self> {
        let file = ParquetFile::open(&context.path)?;
        let mut columns = vec![context.spec.field.clone()];
        columns.extend(context.spec.metadata.iter().cloned());
        columns.dedup();
        let places = columns.iter().map(|column| file.column(column)).collect::<Result<_>>()?;
        let place = |row| usize::try_from(row).unwrap_or(usize::MAX);
        let groups = file.row_groups(place(start)..place(end), places);
        Ok(Self { groups, columns, frame: DataFrame::empty(), row: 0 })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        while self.row >= self.frame.height() {
            let Some((_, frame)) = self.groups.next().transpose()? else { return Ok(None) };
            self.frame = self.texts(&context.path, &frame)?;
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

    /// All columns as text, in the order that is asked for.
    fn texts(&self, path: &Path, frame: &DataFrame) -> Result<DataFrame> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (place, name) in self.columns.iter().enumerate() {
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
    let groups = ParquetFile::open(path)?.groups;
    let size = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.len();
    let rows = groups.last().map_or(0, |group| group.end);
    let wanted = (bytes as f64 / size.max(1) as f64 * rows as f64).max(1.0) as u64;
    let mut slices: Vec<(u64, u64)> = Vec::new();
    for group in groups {
        let (first, end) = (group.start as u64, group.end as u64);
        match slices.last_mut() {
            Some(last) if end - last.0 <= wanted => last.1 = end,
            _ => slices.push((first, end)),
        }
    }
    Ok(slices)
}
