//! Rows of Parquet files, a row group at a time.

use super::rows::{Field, Place, Row, resolve};
use crate::{
    DataError, Result,
    tabular::parquet::{ParquetFile, RowGroups, damaged},
};
use polars::prelude::{AnyValue, DataFrame};
use serde_json::Value;
use std::{path::Path, sync::Arc};

/// A Parquet file that is read group by group.
pub(super) struct Parquet {
    path: Arc<Path>,
    fields: Arc<[Field]>,
    columns: Vec<String>,
    /// Where each field is.
    places: Vec<Option<usize>>,
    groups: RowGroups,
    /// The present group, and the number of its first row, from 0.
    group: (usize, DataFrame),
    /// The next row of the group.
    next: usize,
}

impl Parquet {
    pub(super) fn open(path: Arc<Path>, fields: Arc<[Field]>) -> Result<Self> {
        let file = ParquetFile::open(&path)?;
        let places = resolve(&path, &fields, &file.columns)?;
        let groups = file.row_groups(0..usize::MAX, places.iter().flatten().copied().collect());
        let group = (0, DataFrame::empty());
        Ok(Self { path, fields, columns: file.columns, places, groups, group, next: 0 })
    }

    fn row(&self) -> Result<Row> {
        let (first, group) = &self.group;
        let value = |place: &Option<usize>| {
            let Some(name) = place.and_then(|place| self.columns.get(place)) else {
                return Ok(Value::Null);
            };
            let cell = group.column(name).and_then(|column| column.get(self.next));
            let cell = cell.map_err(|error| damaged(&self.path, error.to_string()))?;
            json(&cell).ok_or_else(|| DataError::ColumnType {
                path: self.path.to_path_buf(),
                column: name.clone(),
                found: cell.dtype().to_string(),
                expected: "text, numbers or lists of them",
            })
        };
        let values = self.places.iter().map(value).collect::<Result<_>>()?;
        let place = Place::Row(first + self.next + 1);
        Ok(Row::new(&self.path, place, &self.fields, values))
    }
}

impl Iterator for Parquet {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next >= self.group.1.height() {
            match self.groups.next()? {
                Ok(group) => (self.group, self.next) = (group, 0),
                Err(error) => return Some(Err(error)),
            }
        }
        let row = self.row();
        self.next += 1;
        Some(row)
    }
}

/// A cell as JSON; `None` for kinds that no label or text has.
fn json(cell: &AnyValue<'_>) -> Option<Value> {
    Some(match cell {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => Value::from(*value),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::List(items) => {
            let items = items.iter().map(|item| json(&item));
            Value::Array(items.collect::<Option<_>>()?)
        }
        number if number.is_integer() => Value::from(number.extract::<i64>()?),
        // Not finite is missing.
        number if number.is_float() => Value::from(number.extract::<f64>()?),
        _ => return None,
    })
}
