//! JSON objects, one a line.

use super::{
    RECORD, line_at,
    plain::{Lines, Stop},
    reader::{Context, Record},
};
use crate::{DataError, Result, error::nearest, files::unreadable};
use serde_json::{Map, Value};

/// A file of JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    lines: Lines,
}

impl JsonLines {
    pub fn new(lines: Lines) -> Self {
        Self { lines }
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        loop {
            let Some((bytes, offset)) = whole_line(&mut self.lines, context)? else {
                return Ok(None);
            };
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if let Some(text) = context.decode(bytes, offset)? {
                return record(&text, offset, context).map(Some);
            }
        }
    }
}

/// A line with its break, and where it begins; `None` at the end of the slice.
pub(super) fn whole_line(lines: &mut Lines, context: &Context) -> Result<Option<(Vec<u8>, u64)>> {
    if lines.is_past() {
        return Ok(None);
    }
    let (mut bytes, offset) = (Vec::new(), lines.offset);
    let failed = |source| unreadable(&context.path, source);
    match lines.read_line(RECORD, &mut bytes).map_err(failed)? {
        Stop::Limit => {
            let reason = format!("longer than {} MiB; a record must be shorter", RECORD >> 20);
            Err(context.line(&context.path, offset, reason))
        }
        Stop::End if bytes.is_empty() => Ok(None),
        Stop::End | Stop::Line => Ok(Some((bytes, offset))),
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
            return Err(context.line(&context.path, offset, reason));
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
        context.line(&context.path, offset, format!("expected a JSON object: {error}"))
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
