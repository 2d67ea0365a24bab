//! Rows of any format: the columns that a spec asks for, as JSON values.

use crate::{DataError, Result, tabular::unknown_column, text::number};
use serde_json::{Map, Value};
use std::{path::Path, sync::Arc};

/// Stream of examples; an item is an error where a row cannot be used.
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

    /// The same column of a file whose columns are called by their numbers.
    pub(super) fn numbered(&self) -> Self {
        let chosen = self.chosen.clone().or(Some(self.position.to_string()));
        Self { chosen, ..self.clone() }
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
        None if field.required => Err(unknown_column(path, field.name(), columns)),
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

    pub(super) fn of_object(
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
