//! JSON objects, one a line.

use super::{
    RECORD, line_at, line_error,
    plain::{Lines, Stop},
    record::{Context, Record},
};
use crate::{DataError, Result, error::nearest, files::unreadable};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A file of JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    lines: WholeLines,
}

impl JsonLines {
    /// The lines that begin in the slice `start..end`.
    pub fn open(path: &Path, start: u64, end: u64) -> Result<Self> {
        Ok(Self { lines: WholeLines::open(path, start, end)? })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        while let Some((offset, bytes)) = self.lines.next().transpose()? {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if let Some(text) = context.decode(bytes, offset)? {
                return record(&text, offset, context).map(Some);
            }
        }
        Ok(None)
    }
}

/// The lines that begin in a slice of a file, with their breaks; each with the byte that it begins
/// at, and shorter than a record may be.
#[derive(Debug)]
pub(super) struct WholeLines {
    lines: Lines,
    path: PathBuf,
}

impl WholeLines {
    pub fn open(path: &Path, start: u64, end: u64) -> Result<Self> {
        let lines = Lines::of_slice(path, start, end).map_err(|e| unreadable(path, e))?;
        Ok(Self { lines, path: path.into() })
    }
}

impl Iterator for WholeLines {
    type Item = Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.lines.is_past() {
            return None;
        }
        let (mut bytes, offset) = (Vec::new(), self.lines.offset);
        match self.lines.read_line(RECORD, &mut bytes) {
            Ok(Stop::End) if bytes.is_empty() => None,
            Ok(Stop::End | Stop::Line) => Some(Ok((offset, bytes))),
            Ok(Stop::Limit) => {
                let reason = format!("longer than {} MiB; a record must be shorter", RECORD >> 20);
                Some(Err(line_error(&self.path, offset, reason)))
            }
            Err(source) => Some(Err(unreadable(&self.path, source))),
        }
    }
}

/// The text and metadata of one object, which begins at `offset`.
pub(super) fn record(text: &str, offset: u64, context: &Context) -> Result<Record> {
    let mut object = object(text, offset, context)?;
    let field = &context.spec.field;
    let text = match object.remove(field) {
        Some(Value::String(text)) => text,
        // A document without text is an empty one.
        Some(Value::Null) => String::new(),
        Some(_) => {
            let reason = format!("`{field}` is not a text");
            return Err(line_error(&context.path, offset, reason));
        }
        None => {
            return Err(DataError::MissingField {
                path: context.path.clone(),
                line: line_at(&context.path, offset),
                field: field.clone(),
                nearest: nearest(field, object.keys().map(String::as_str)),
                fields: object.keys().cloned().collect(),
            });
        }
    };
    let metadata = context.metadata(|name| value_of(object.get(name)?));
    Ok(Record { text, metadata, ..Record::default() })
}

/// A JSON object.
pub(super) fn object(text: &str, offset: u64, context: &Context) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|error| {
        line_error(&context.path, offset, format!("expected a JSON object: {error}"))
    })
}

/// A value as metadata; `None` for null.
pub(super) fn value_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
