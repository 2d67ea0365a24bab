//! Rows of the files that a spec names, format by format.

use super::{
    files::{Files, Format, Lines},
    parquet::Parquet,
    rows::{Cell, Examples, Field, Place, Row, resolve, wrong},
};
use crate::{
    DataError, Result,
    files::read_bytes,
    tabular::delimited::{Dialect, Record, Records, UNCLOSED},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{borrow::Cow, iter::once, path::Path, sync::Arc};

/// A file that is one JSON value.
pub(super) fn json_file<T: DeserializeOwned>(path: &Path, expected: &str) -> Result<T> {
    let bytes = read_bytes(path)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|error| {
        wrong(path, Place::Line(error.line()), format!("expected {expected}: {error}"))
    })
}

/// Reads rows of all files and makes an example of each.
pub(super) fn examples<'a, T: 'a>(
    files: &Files,
    fields: Vec<Field>,
    example: impl Fn(&Row) -> Cell<T> + Send + 'a,
) -> Result<Examples<'a, T>> {
    let example = move |row: Result<Row>| row.and_then(|r| example(&r).map_err(|e| r.wrong(e)));
    Ok(Box::new(rows(files, fields)?.map(example)))
}

/// The rows of all files, in order.
pub(super) fn rows(files: &Files, fields: Vec<Field>) -> Result<Examples<'static, Row>> {
    let (paths, files, fields) = (files.located()?, files.clone(), Arc::<[Field]>::from(fields));
    Ok(Box::new(paths.into_iter().flat_map(move |path| {
        let rows = open(&path, &files, fields.clone()).unwrap_or_else(|e| Box::new(once(Err(e))));
        let mut rows = rows.peekable();
        let what = "there is no row";
        let empty = rows.peek().is_none().then_some(Err(DataError::Empty { path, what }));
        rows.chain(empty)
    })))
}

fn open(path: &Path, files: &Files, fields: Arc<[Field]>) -> Result<Examples<'static, Row>> {
    let lines = || Lines::open(path, files.encoding);
    let path: Arc<Path> = path.into();
    Ok(match files.format_of(&path)? {
        Format::Tsv => {
            Box::new(Delimited::open(path.clone(), lines()?, Dialect::TSV, files, fields)?)
        }
        Format::Csv => {
            Box::new(Delimited::open(path.clone(), lines()?, Dialect::CSV, files, fields)?)
        }
        Format::Jsonl | Format::Auto => Box::new(lines()?.filter_map(move |line| {
            let json = |(line, text): (usize, String)| {
                let place = Place::Line(line);
                let object = serde_json::from_str(&text);
                let object = object.map_err(|e| wrong(&path, place, format!("not JSON: {e}")))?;
                Row::of_object(&path, place, &fields, object)
            };
            let blank = matches!(&line, Ok((_, text)) if text.trim().is_empty());
            (!blank).then(|| line.and_then(json))
        })),
        Format::Json => {
            let objects: Vec<Map<String, Value>> = json_file(&path, "a list of objects")?;
            Box::new(
                objects.into_iter().zip(1..).map(move |(object, row)| {
                    Row::of_object(&path, Place::Row(row), &fields, object)
                }),
            )
        }
        Format::Parquet => Box::new(Parquet::open(path.clone(), fields)?),
    })
}

/// A file whose cells are divided by a character.
struct Delimited {
    path: Arc<Path>,
    records: Records<Lines>,
    fields: Arc<[Field]>,
    /// Where each field is.
    places: Vec<Option<usize>>,
    width: usize,
    /// A first line that was no header.
    first: Option<(usize, Vec<String>)>,
}

impl Delimited {
    fn open(
        path: Arc<Path>,
        lines: Lines,
        dialect: Dialect,
        files: &Files,
        fields: Arc<[Field]>,
    ) -> Result<Self> {
        let (records, places, width, first) = (Records::new(lines, dialect), Vec::new(), 0, None);
        let mut table = Self { path, records, fields, places, width, first };
        let Some((line, cells)) = table.record().transpose()? else {
            return Err(DataError::Empty {
                path: table.path.to_path_buf(),
                what: "the file is empty",
            });
        };
        table.width = cells.len();
        if files.header {
            let names: Vec<String> = cells.iter().map(|name| name.trim().to_owned()).collect();
            table.places = resolve(&table.path, &table.fields, &names)?;
        } else {
            let names: Vec<String> = (1..=cells.len()).map(|n| n.to_string()).collect();
            let numbered: Vec<Field> = table.fields.iter().map(Field::numbered).collect();
            table.places = resolve(&table.path, &numbered, &names)?;
            table.first = Some((line, cells));
        }
        Ok(table)
    }

    /// The cells of the next record, and its line.
    fn record(&mut self) -> Option<Result<(usize, Vec<String>)>> {
        let record = self.records.next()?;
        Some(record.and_then(|Record { place, text, closed }| {
            if !closed {
                return Err(wrong(&self.path, Place::Line(place), UNCLOSED.to_owned()));
            }
            let cells = self.records.dialect.cells(&text).into_iter();
            Ok((place, cells.map(Cow::into_owned).collect()))
        }))
    }

    fn row(&self, line: usize, mut cells: Vec<String>) -> Result<Row> {
        if cells.len() != self.width {
            let reason =
                format!("{} cells, expected {} as in the first line", cells.len(), self.width);
            return Err(wrong(&self.path, Place::Line(line), reason));
        }
        let cell = |place: &Option<usize>| match place.and_then(|place| cells.get_mut(place)) {
            Some(cell) => Value::String(std::mem::take(cell)),
            None => Value::Null,
        };
        let values = self.places.iter().map(cell).collect();
        Ok(Row::new(&self.path, Place::Line(line), &self.fields, values))
    }
}

impl Iterator for Delimited {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.first.take().map(Ok).or_else(|| self.record())?;
        Some(record.and_then(|(line, cells)| self.row(line, cells)))
    }
}
