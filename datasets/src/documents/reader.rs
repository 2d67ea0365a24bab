//! The stream of documents.

use super::{
    Before, Document, Documents, Format, Invalid, PIECE, Part, Split, Tally,
    json::JsonLines,
    line_at,
    parquet::ParquetRows,
    plain::{Lines, Plain, border},
    shard::Shard,
    table::Table,
};
use crate::{DataError, Result, files::unreadable, text::not_text};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

/// Documents, part after part. It stops after the first error.
#[derive(Debug)]
pub struct DocumentReader {
    context: Context,
    parts: VecDeque<Part>,
    current: Option<Source>,
    /// What is left of a record longer than a document may be.
    rest: Option<Record>,
    /// Whether a piece of the present document was given.
    begun: bool,
    /// Whether the present document was counted as cut.
    counted: bool,
}

/// What readers of all formats need.
#[derive(Debug)]
pub(super) struct Context {
    pub spec: Documents,
    pub path: PathBuf,
    pub tally: Tally,
}

/// A text as a file has it.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub text: String,
    pub metadata: BTreeMap<String, String>,
    /// Whether its document goes on in the next one.
    pub open: bool,
    /// Whether its text is left out, and that was counted.
    pub skipped: bool,
}

#[derive(Debug)]
enum Source {
    Plain(Plain),
    Json(JsonLines),
    Table(Table),
    Parquet(ParquetRows),
    Shard(Shard),
}

impl DocumentReader {
    pub(super) fn new(spec: &Documents, parts: Vec<Part>) -> Self {
        let mut spec = spec.clone();
        let Documents { before, metadata, .. } = &mut spec;
        for field in before.iter().flat_map(Before::fields) {
            if !metadata.iter().any(|known| known == field) {
                metadata.push(field.to_owned());
            }
        }
        let context = Context { spec, path: PathBuf::new(), tally: Tally::default() };
        Self {
            context,
            parts: parts.into(),
            current: None,
            rest: None,
            begun: false,
            counted: false,
        }
    }

    /// What was read so far.
    pub fn tally(&self) -> Tally {
        self.context.tally
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        loop {
            let record = match self.rest.take() {
                Some(rest) => Some(rest),
                None => self.record()?,
            };
            let Some(mut record) = record else { return Ok(None) };
            if record.text.len() > PIECE {
                let piece = record.text.as_bytes().get(..=PIECE).unwrap_or_default();
                let tail = record.text.split_off(border(piece));
                let metadata = record.metadata.clone();
                self.rest =
                    Some(Record { text: tail, metadata, open: record.open, skipped: false });
                record.open = true;
            }
            if let Some(document) = self.document(record) {
                return Ok(Some(document));
            }
        }
    }

    fn record(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(source) = &mut self.current {
                if let Some(record) = source.next(&mut self.context)? {
                    return Ok(Some(record));
                }
                self.current = None;
            }
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            self.context.path.clone_from(&part.path);
            self.current = Some(Source::open(&self.context, &part)?);
        }
    }

    /// Counts a record; nothing of a blank one.
    fn document(&mut self, record: Record) -> Option<Document> {
        let Record { text, metadata, open, skipped } = record;
        let tally = &mut self.context.tally;
        if open && !self.counted {
            tally.cut += 1;
        }
        let blank = text.trim().is_empty();
        let continues = self.begun;
        if blank && !open && !continues && !skipped {
            tally.empty += 1;
        }
        if !blank {
            tally.documents += u64::from(!continues);
            tally.bytes += text.len() as u64;
        }
        self.counted = open;
        self.begun = open && (continues || !blank);
        let kept = !blank || (self.context.spec.blank && !open && !continues && !skipped);
        let before = self.context.spec.before.iter().filter(|_| !continues);
        let before: String = before.filter_map(|before| before.text(&metadata)).collect();
        let said = before.len();
        let text = if said == 0 { text } else { before + &text };
        kept.then_some(Document { text, said, metadata, continues })
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.parts.clear();
            (self.current, self.rest) = (None, None);
        }
        next.transpose()
    }
}

impl Source {
    fn open(context: &Context, part: &Part) -> Result<Self> {
        let Part { path, format, start, end } = part;
        let (start, end) = (*start, *end);
        let lines = || Lines::of_slice(path, start, end).map_err(|source| unreadable(path, source));
        Ok(match format {
            Format::Auto | Format::Text => Self::Plain(Plain::new(lines()?, context.spec.split)),
            Format::Jsonl => Self::Json(JsonLines::new(lines()?)),
            Format::Tsv | Format::Csv => {
                Self::Table(Table::open(context, lines()?, start, *format == Format::Csv)?)
            }
            Format::Parquet => Self::Parquet(ParquetRows::open(context, start, end)?),
            Format::Tar => Self::Shard(Shard::open(path, start, end)?),
        })
    }

    fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        match self {
            Self::Plain(plain) => plain_record(plain, context),
            Self::Json(lines) => lines.next(context),
            Self::Table(table) => table.next(context),
            Self::Parquet(rows) => rows.next(context),
            Self::Shard(shard) => shard.next(context),
        }
    }
}

/// The next piece of plain text, as text.
pub(super) fn plain_record(plain: &mut Plain, context: &mut Context) -> Result<Option<Record>> {
    let piece = plain.next().map_err(|source| unreadable(&context.path, source))?;
    let Some(piece) = piece else { return Ok(None) };
    let record = Record { open: piece.open, ..Record::default() };
    let Some(mut text) = context.decode(piece.bytes, piece.offset)? else {
        return Ok(Some(Record { skipped: true, ..record }));
    };
    // The line break that ends a document is not of it.
    if !piece.open && context.spec.split != Split::File {
        text.truncate(text.trim_end_matches(['\n', '\r']).len());
    }
    Ok(Some(Record { text, ..record }))
}

impl Context {
    /// Bytes as text, by what the recipe says of text that is not UTF-8; `None` to leave it out.
    pub fn decode(&mut self, bytes: Vec<u8>, offset: u64) -> Result<Option<String>> {
        if bytes.contains(&0) {
            let reason = "it contains zero bytes: not text; text must be UTF-8";
            return Err(DataError::NotText { path: self.path.clone(), reason });
        }
        let error = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Some(text)),
            Err(error) => error,
        };
        let valid = error.utf8_error().valid_up_to();
        match self.spec.invalid {
            Invalid::Skip => {
                self.tally.skipped += 1;
                Ok(None)
            }
            Invalid::Stop => {
                let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
                let reason = format!(
                    "the byte {byte:#04x} is not UTF-8; `invalid = \"replace\"` replaces it, \
                     `invalid = \"skip\"` leaves the document out"
                );
                let line = line_at(&self.path, offset + valid as u64);
                Err(DataError::Line { path: self.path.clone(), line, reason })
            }
            Invalid::Replace => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                if let Some(reason) = not_text(&text) {
                    return Err(DataError::NotText { path: self.path.clone(), reason });
                }
                self.tally.replaced += 1;
                Ok(Some(text))
            }
        }
    }

    /// The metadata that is asked for, of what a record has.
    pub fn metadata(
        &self,
        mut value: impl FnMut(&str) -> Option<String>,
    ) -> BTreeMap<String, String> {
        let names = self.spec.metadata.iter();
        names.filter_map(|name| Some((name.clone(), value(name)?))).collect()
    }

    /// A mistake in the line that holds a byte.
    pub fn line(&self, path: &Path, offset: u64, reason: impl Into<String>) -> DataError {
        DataError::Line { path: path.into(), line: line_at(path, offset), reason: reason.into() }
    }
}
