//! Rows of any format: the columns that a spec asks for, as JSON values.

use super::{
    files::{Files, Format, Lines},
    parquet::Parquet,
};
use crate::{
    DataError, Result,
    error::nearest,
    files::read_bytes,
    text::{number, split_line},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{iter::once, path::Path, sync::Arc};

/// Examples as they are read, or what is wrong with a row.
pub type Examples<'a, T> = Box<dyn Iterator<Item = Result<T>> + Send + 'a>;

/// A column that a spec reads.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// The name that a recipe gives.
    chosen: Option<String>,
    /// What it is called in well-known data sets, our own name first.
    usual: &'static [&'static str],
    /// Which column it is, from 1, where a file names none.
    position: usize,
    required: bool,
}

impl Field {
    /// A column that has to be there.
    pub(super) fn required(
        chosen: &Option<String>,
        usual: &'static [&'static str],
        position: usize,
    ) -> Self {
        Self { chosen: chosen.clone(), usual, position, required: true }
    }

    /// A column that may be missing, unless a recipe names it.
    pub(super) fn optional(
        chosen: &Option<String>,
        usual: &'static [&'static str],
        position: usize,
    ) -> Self {
        Self { required: chosen.is_some(), ..Self::required(chosen, usual, position) }
    }

    /// The name to call it by in messages.
    pub(super) fn name(&self) -> &str {
        self.chosen.as_deref().or(self.usual.first().copied()).unwrap_or_default()
    }

    /// Which of `columns` it is.
    fn among(&self, columns: &[String]) -> Option<usize> {
        let place = |name: &str| columns.iter().position(|c| c.eq_ignore_ascii_case(name));
        match &self.chosen {
            Some(chosen) => columns.iter().position(|c| c == chosen).or_else(|| place(chosen)),
            None => self.usual.iter().find_map(|name| place(name)),
        }
    }

    /// Its value in a JSON object; null where it has none.
    fn of_object(&self, object: &mut Map<String, Value>) -> std::result::Result<Value, String> {
        let found = match &self.chosen {
            Some(chosen) if object.contains_key(chosen) => object.get_mut(chosen),
            // `translation.en` is a field of a field.
            Some(chosen) => chosen
                .split_once('.')
                .and_then(|(outer, inner)| object.get_mut(outer)?.as_object_mut()?.get_mut(inner)),
            None => {
                let name = self.usual.iter().find(|name| object.contains_key(**name));
                name.and_then(|name| object.get_mut(*name))
            }
        };
        match found {
            Some(value) => Ok(value.take()),
            None if !self.required => Ok(Value::Null),
            None => {
                let names: Vec<String> = object.keys().map(|name| format!("`{name}`")).collect();
                Err(format!("no field `{}`; its fields are {}", self.name(), names.join(", ")))
            }
        }
    }
}

/// Finds the columns of a table; `None` for those that may be missing and are.
pub(super) fn resolve(
    path: &Path,
    fields: &[Field],
    columns: &[String],
) -> Result<Vec<Option<usize>>> {
    let place = |field: &Field| match field.among(columns) {
        None if field.required => Err(DataError::UnknownColumn {
            path: path.into(),
            column: field.name().to_owned(),
            nearest: nearest(field.name(), columns.iter().map(String::as_str)),
            columns: columns.to_vec(),
        }),
        place => Ok(place),
    };
    fields.iter().map(place).collect()
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A line, from 1.
    Line(usize),
    /// A row, from 1, where lines are not rows.
    Row(usize),
}

/// What a spec reads of a row: a value a field, in the order of the fields.
pub(super) struct Row {
    pub(super) path: Arc<Path>,
    pub(super) place: Place,
    fields: Arc<[Field]>,
    values: Vec<Value>,
}

/// A row's problem, without its place.
pub(super) type Cell<T> = std::result::Result<T, String>;

impl Row {
    pub(super) fn new(
        path: &Arc<Path>,
        place: Place,
        fields: &Arc<[Field]>,
        values: Vec<Value>,
    ) -> Self {
        Self { path: path.clone(), place, fields: fields.clone(), values }
    }

    fn of_object(
        path: &Arc<Path>,
        place: Place,
        fields: &Arc<[Field]>,
        mut object: Map<String, Value>,
    ) -> Result<Self> {
        let values = fields.iter().map(|field| field.of_object(&mut object)).collect::<Cell<_>>();
        Ok(Self::new(path, place, fields, values.map_err(|reason| wrong(path, place, reason))?))
    }

    /// What is wrong with this row.
    pub(super) fn wrong(&self, reason: String) -> DataError {
        wrong(&self.path, self.place, reason)
    }

    pub(super) fn name(&self, field: usize) -> &str {
        self.fields.get(field).map_or("", Field::name)
    }

    pub(super) fn value(&self, field: usize) -> &Value {
        self.values.get(field).unwrap_or(&Value::Null)
    }

    /// The cell as text, if there is one.
    pub(super) fn optional(&self, field: usize) -> Cell<Option<String>> {
        match self.value(field) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            Value::Bool(bool) => Ok(Some(bool.to_string())),
            Value::Array(_) | Value::Object(_) => {
                Err(format!("`{}` is no text but a list or an object", self.name(field)))
            }
        }
    }

    /// The cell as text.
    pub(super) fn text(&self, field: usize) -> Cell<String> {
        self.optional(field)?.ok_or_else(|| format!("`{}` is missing", self.name(field)))
    }

    /// The cell as text with at least a character that is no space.
    pub(super) fn word(&self, field: usize) -> Cell<String> {
        let text = self.text(field)?;
        match text.trim() {
            "" => Err(format!("`{}` is empty", self.name(field))),
            word => Ok(word.to_owned()),
        }
    }

    /// The cell as a number.
    pub(super) fn number(&self, field: usize) -> Cell<f64> {
        let text = self.word(field)?;
        number(&text, false)
            .flatten()
            .ok_or_else(|| format!("`{}` is `{text}`, expected a number", self.name(field)))
    }

    /// The cell as a list: a JSON list, or text that is split.
    pub(super) fn list(
        &self,
        field: usize,
        split: impl FnOnce(&str) -> Vec<String>,
    ) -> Cell<Vec<String>> {
        let item = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(format!("`{}` lists `{value}`, expected text", self.name(field))),
        };
        match self.value(field) {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.iter().map(item).collect(),
            _ => Ok(split(&self.text(field)?)),
        }
    }
}

/// What is wrong with a row of a file.
pub(super) fn wrong(path: &Path, place: Place, reason: String) -> DataError {
    match place {
        Place::Line(line) => DataError::Line { path: path.into(), line, reason },
        Place::Row(row) => DataError::Row { path: path.into(), row, reason },
    }
}

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
        Format::Tsv => Box::new(Delimited::open(path.clone(), lines()?, '\t', files, fields)?),
        Format::Csv => Box::new(Delimited::open(path.clone(), lines()?, ',', files, fields)?),
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
    lines: Lines,
    separator: char,
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
        separator: char,
        files: &Files,
        fields: Arc<[Field]>,
    ) -> Result<Self> {
        let (places, width, first) = (Vec::new(), 0, None);
        let mut table = Self { path, lines, separator, fields, places, width, first };
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
            let numbered = |field: &Field| Field {
                chosen: field.chosen.clone().or(Some(field.position.to_string())),
                ..field.clone()
            };
            let numbered: Vec<Field> = table.fields.iter().map(numbered).collect();
            table.places = resolve(&table.path, &numbered, &names)?;
            table.first = Some((line, cells));
        }
        Ok(table)
    }

    /// The cells of the next line that is not blank, and its number.
    fn record(&mut self) -> Option<Result<(usize, Vec<String>)>> {
        let quotes = self.separator == ',';
        loop {
            let (line, mut text) = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if text.trim().is_empty() {
                continue;
            }
            if !quotes {
                return Some(Ok((line, text.split(self.separator).map(str::to_owned).collect())));
            }
            // A quote that is open at the end of a line goes on in the next.
            let odd = |text: &str| text.matches('"').count() % 2 == 1;
            let mut open = odd(&text);
            while open {
                match self.lines.next() {
                    Some(Ok((_, more))) => {
                        open ^= odd(&more);
                        text.push('\n');
                        text.push_str(&more);
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => {
                        let reason = "a quote is opened and never closed".to_owned();
                        return Some(Err(wrong(&self.path, Place::Line(line), reason)));
                    }
                }
            }
            let cells = split_line(&text, self.separator);
            return Some(Ok((line, cells.into_iter().map(|cell| cell.into_owned()).collect())));
        }
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
