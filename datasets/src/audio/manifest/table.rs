//! Manifests with a row an utterance.

use super::Utterance;
use crate::{
    DataError, Result,
    files::read_text,
    tabular::{
        delimited::{Dialect, Record, Records, lines},
        unknown_column,
    },
    text::number,
};
use serde_json::{Map, Value};
use std::{collections::HashMap, path::Path};

/// What a column may be called, what we call it first.
const NAMES: [(Field, &[&str]); 6] = [
    (Field::Path, &["path", "audio", "audio_filepath", "file", "filename", "wav"]),
    (Field::Text, &["text", "sentence", "transcript", "transcription"]),
    (Field::Speaker, &["speaker", "client_id", "speaker_id"]),
    (Field::Duration, &["duration", "seconds"]),
    (Field::Start, &["start", "offset"]),
    (Field::End, &["end"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Path,
    Text,
    Speaker,
    Duration,
    Start,
    End,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        let name = name.trim();
        let known = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        NAMES.iter().find(|(_, names)| known(names)).map(|(field, _)| *field)
    }
}

/// Reads a table with a header. Cells are taken as they are: quotes are part of a sentence.
pub(super) fn tsv(path: &Path) -> Result<Vec<Utterance>> {
    rows(path, path.parent().unwrap_or(Path::new("")))
}

/// Reads Common Voice's table of a split; its paths are names in `clips/`.
pub(super) fn common_voice(dir: &Path, split: &str) -> Result<Vec<Utterance>> {
    let clips = dir.join("clips");
    let mut utterances = rows(&dir.join(format!("{split}.tsv")), &clips)?;
    let durations = clip_durations(&dir.join("clip_durations.tsv"));
    for utterance in &mut utterances {
        // The first releases leave the extension out.
        if let super::Location::File(path) = &mut utterance.audio
            && path.extension().is_none()
        {
            path.set_extension("mp3");
        }
        if utterance.duration.is_none() {
            let name = utterance.id.rsplit('/').next().unwrap_or_default();
            utterance.duration = durations.get(name).copied();
        }
    }
    Ok(utterances)
}

/// Reads a JSON object a line.
pub(super) fn jsonl(path: &Path) -> Result<Vec<Utterance>> {
    let text = read_text(path)?;
    let root = path.parent().unwrap_or(Path::new(""));
    let mut utterances = Vec::new();
    for (place, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |reason: String| DataError::Line { path: path.into(), line: place + 1, reason };
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
        let mut row = Row::default();
        row.fill(&object).map_err(fail)?;
        utterances.push(row.utterance(root).map_err(fail)?);
    }
    Ok(utterances)
}

/// Fills an utterance in from a JSON object, such as one of a shard.
pub(super) fn describe(utterance: &mut Utterance, json: &[u8]) -> std::result::Result<(), String> {
    let object: Map<String, Value> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let mut row = Row::default();
    row.fill(&object)?;
    utterance.text = row.text.or(utterance.text.take());
    utterance.speaker = row.speaker;
    utterance.duration = row.duration;
    Ok(())
}

fn rows(path: &Path, root: &Path) -> Result<Vec<Utterance>> {
    let text = read_text(path)?;
    let (dialect, mut lines) = (Dialect::TSV, lines(&text));
    let (_, header) = lines.next().transpose()?.unwrap_or_default();
    let header: Vec<String> =
        dialect.cells(&header).iter().map(|name| name.trim().to_owned()).collect();
    let fields: Vec<Option<Field>> = header.iter().map(|name| Field::of(name)).collect();
    if !fields.contains(&Some(Field::Path)) {
        return Err(unknown_column(path, "path", &header));
    }
    let mut utterances = Vec::new();
    for record in Records::new(lines, dialect) {
        let Record { place: line, text, .. } = record?;
        let cells = dialect.cells(&text);
        if cells.len() != header.len() {
            let (row, expected, found) = (line - 1, header.len(), cells.len());
            return Err(DataError::Ragged { path: path.into(), row, expected, found });
        }
        let fail = |reason: String| DataError::Line { path: path.into(), line, reason };
        let mut row = Row::default();
        for (field, cell) in fields.iter().zip(cells) {
            if let Some(field) = field {
                row.set(*field, cell.trim()).map_err(fail)?;
            }
        }
        utterances.push(row.utterance(root).map_err(fail)?);
    }
    Ok(utterances)
}

/// The cells of a row that are understood.
#[derive(Default)]
struct Row {
    path: String,
    text: Option<String>,
    speaker: Option<String>,
    duration: Option<f64>,
    start: Option<f64>,
    end: Option<f64>,
}

impl Row {
    fn set(&mut self, field: Field, cell: &str) -> std::result::Result<(), String> {
        let word = || (!cell.is_empty()).then(|| cell.to_owned());
        let seconds = || match number(cell, false) {
            Some(Some(seconds)) if seconds < 0.0 => Err(format!("{seconds} s is below zero")),
            Some(seconds) => Ok(seconds),
            None => Err(format!("`{cell}` is not a number of seconds")),
        };
        match field {
            Field::Path => self.path = cell.to_owned(),
            Field::Text => self.text = word(),
            Field::Speaker => self.speaker = word(),
            Field::Duration => self.duration = seconds()?,
            Field::Start => self.start = seconds()?,
            Field::End => self.end = seconds()?,
        }
        Ok(())
    }

    fn fill(&mut self, object: &Map<String, Value>) -> std::result::Result<(), String> {
        for (name, value) in object {
            let Some(field) = Field::of(name) else { continue };
            match value {
                Value::Null => {}
                Value::String(text) => self.set(field, text)?,
                Value::Number(number) => self.set(field, &number.to_string())?,
                _ => return Err(format!("`{name}` is neither a text nor a number")),
            }
        }
        Ok(())
    }

    fn utterance(mut self, root: &Path) -> std::result::Result<Utterance, String> {
        if self.path.is_empty() {
            return Err("it names no recording".to_owned());
        }
        // NeMo gives a part by its begin and duration.
        if let (Some(start), None, Some(duration)) = (self.start, self.end, self.duration) {
            self.end = Some(start + duration);
        }
        if let (start, Some(end)) = (self.start.unwrap_or(0.0), self.end) {
            if end <= start {
                return Err(format!("it ends at {end} s, before its start at {start} s"));
            }
            self.duration = self.duration.or(Some(end - start));
        }
        let part = match (self.start, self.end) {
            (None, None) => String::new(),
            (start, end) => {
                let end = end.map_or_else(String::new, |end| end.to_string());
                format!("#{}-{end}", start.unwrap_or(0.0))
            }
        };
        Ok(Utterance {
            text: self.text,
            speaker: self.speaker,
            duration: self.duration,
            start: self.start,
            end: self.end,
            ..Utterance::of_file(format!("{}{part}", self.path), root.join(&self.path))
        })
    }
}

/// Common Voice lists milliseconds by clip since release 11; without that table, nothing is known.
fn clip_durations(path: &Path) -> HashMap<String, f64> {
    let text = read_text(path).unwrap_or_default();
    let pair = |record: Record<usize, String>| {
        let cells = Dialect::TSV.cells(&record.text);
        let milliseconds = cells.get(1)?.trim().parse::<f64>().ok()?;
        Some((cells.first()?.to_string(), milliseconds / 1000.0))
    };
    Records::new(lines(&text), Dialect::TSV).flatten().skip(1).filter_map(pair).collect()
}
