//! The stream of documents.

use super::{
    Document, DocumentShard, Documents, Format, PIECE, Prefix, Tally,
    json::JsonLines,
    parquet::ParquetRows,
    plain::{Lines, Plain, border, plain_record},
    record::{Context, Record},
    shard::Shard,
    table::Table,
};
use crate::{Result, files::unreadable};
use std::{collections::VecDeque, path::PathBuf};

/// Stream of documents, part after part. It stops after the first error.
#[derive(Debug)]
pub struct DocumentReader {
    context: Context,
    parts: VecDeque<DocumentShard>,
    current: Option<Source>,
    /// What is left of a record longer than a document may be.
    rest: Option<Record>,
    /// Whether a piece of the present document was given.
    begun: bool,
    /// Whether the present document was counted as cut.
    counted: bool,
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
    pub(super) fn new(spec: &Documents, parts: Vec<DocumentShard>) -> Self {
        let mut spec = spec.clone();
        let Documents { before, metadata, .. } = &mut spec;
        for field in before.iter().flat_map(Prefix::fields) {
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
        let prefix: String = before.filter_map(|before| before.text(&metadata)).collect();
        let prefix_len = prefix.len();
        let text = if prefix_len == 0 { text } else { prefix + &text };
        kept.then_some(Document { text, prefix_len, metadata, continues })
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
    fn open(context: &Context, part: &DocumentShard) -> Result<Self> {
        let DocumentShard { path, format, start, end } = part;
        let (start, end) = (*start, *end);
        let lines = || Lines::of_slice(path, start, end).map_err(|source| unreadable(path, source));
        Ok(match format {
            Format::Auto | Format::Text => Self::Plain(Plain::new(lines()?, context.spec.split)),
            Format::Jsonl => Self::Json(JsonLines::open(path, start, end)?),
            Format::Tsv | Format::Csv => {
                Self::Table(Table::open(context, start, end, *format == Format::Csv)?)
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
