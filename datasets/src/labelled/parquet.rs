//! Rows of Parquet files, a row group at a time.

use super::rows::{Field, Place, Row, resolve};
use crate::{DataError, Result, files::unreadable, table::read::read_frame};
use polars::prelude::{AnyValue, DataFrame, ParquetReader, SerReader};
use serde_json::Value;
use std::{collections::VecDeque, fs::File, path::Path, sync::Arc};

/// A Parquet file that is read group by group.
pub(super) struct Parquet {
    path: Arc<Path>,
    fields: Arc<[Field]>,
    columns: Vec<String>,
    /// Where each field is.
    places: Vec<Option<usize>>,
    /// Rows of the groups that are still to be read.
    groups: VecDeque<usize>,
    group: Option<DataFrame>,
    /// The next row of the group.
    next: usize,
    /// Rows before the group.
    before: usize,
}

impl Parquet {
    pub(super) fn open(path: Arc<Path>, fields: Arc<[Field]>) -> Result<Self> {
        let file = File::open(&path).map_err(|source| unreadable(&path, source))?;
        let (columns, groups) = read_frame(|| {
            let mut reader = ParquetReader::new(file);
            let columns: Vec<String> =
                reader.schema()?.iter_names().map(ToString::to_string).collect();
            let groups = reader.get_metadata()?.row_groups.iter().map(|group| group.num_rows());
            Ok((columns, groups.collect::<VecDeque<_>>()))
        })
        .map_err(|reason| damaged(&path, reason))?;
        let places = resolve(&path, &fields, &columns)?;
        Ok(Self { path, fields, columns, places, groups, group: None, next: 0, before: 0 })
    }

    /// Reads the next group's columns that are asked for.
    fn advance(&mut self) -> Option<Result<()>> {
        self.before += self.group.take().map_or(0, |group| group.height());
        self.next = 0;
        let rows = self.groups.pop_front()?;
        let mut wanted: Vec<usize> = self.places.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let slice = (self.before, rows);
        let read = File::open(&self.path)
            .map_err(|source| unreadable(&self.path, source))
            .and_then(|file| {
                let reader = ParquetReader::new(file).with_slice(Some(slice));
                read_frame(|| reader.with_projection(Some(wanted)).finish())
                    .map_err(|reason| damaged(&self.path, reason))
            });
        Some(read.map(|group| self.group = Some(group)))
    }

    fn row(&self, group: &DataFrame) -> Result<Row> {
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
        let place = Place::Row(self.before + self.next + 1);
        Ok(Row::new(&self.path, place, &self.fields, values))
    }
}

impl Iterator for Parquet {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.group.as_ref().is_none_or(|group| self.next >= group.height()) {
            if let Err(error) = self.advance()? {
                self.groups.clear();
                return Some(Err(error));
            }
        }
        let row = self.row(self.group.as_ref()?);
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

fn damaged(path: &Path, reason: String) -> DataError {
    let reason = format!("Parquet, but damaged or of an unknown kind: {reason}");
    DataError::Format { path: path.into(), reason }
}
