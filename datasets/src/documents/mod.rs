//! Documents of text: plain text, JSON lines, tables, Parquet, tar shards.
//!
//! [`Documents`] says where they are; [`Documents::read`] streams them in the order of the files.
//! No reader holds more than a bounded piece of a file: a document longer than [`PIECE`] bytes comes
//! as several, the later ones marked as going on. [`Documents::parts`] divides the files for readers
//! that work in parallel.

mod format;
mod json;
mod parquet;
mod part;
mod plain;
mod prefix;
mod reader;
mod record;
mod shard;
mod table;

pub use format::{Format, Invalid, Split};
pub use part::DocumentShard;
pub use prefix::{Prefix, ScoreText};
pub use reader::DocumentReader;

use crate::{
    DataError, Result,
    files::{files_under, matching},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// Maximum bytes of a document: longer ones are cut at white space, or else between characters.
pub const PIECE: usize = 1 << 20;

/// Bytes of a record (a line of JSON, a row of a table), at most: they are read as a whole.
const RECORD: usize = 64 << 20;

/// Document: a text with its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The text, at most [`PIECE`] bytes behind its metadata prefix; blank only where
    /// [`Documents::blank`] asks for it.
    pub text: String,
    /// Length of the metadata prefix in bytes: what [`Documents::before`] puts before the document
    /// is not of it.
    pub prefix_len: usize,
    /// The fields that were asked for, as far as the document has them.
    pub metadata: BTreeMap<String, String>,
    /// Whether it goes on from the document before it: both are pieces of a longer one.
    pub continues: bool,
}

/// Which documents to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Documents {
    /// Files, folders, or patterns with `*`. They are looked for here, then in the folder that
    /// `KILN_DATA` names.
    pub paths: Vec<PathBuf>,
    /// How the files are written; `auto` goes by their extensions.
    pub format: Format,
    /// What a document of plain text is.
    pub split: Split,
    /// The field or column that holds the text, where there are several.
    #[serde(alias = "column")]
    pub field: String,
    /// Fields or columns to keep beside the text.
    pub metadata: Vec<String>,
    /// What happens to text that is not UTF-8.
    pub invalid: Invalid,
    /// Whether blank texts are documents, too: for what must match the files row by row.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blank: bool,
    /// Metadata prefix of each document: the model attends to it, but is not trained on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Prefix>,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: Format::Auto,
            split: Split::File,
            field: "text".to_owned(),
            metadata: Vec::new(),
            invalid: Invalid::Replace,
            blank: false,
            before: Vec::new(),
        }
    }
}

impl Documents {
    /// The documents of these files, folders or patterns.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// With what a document of plain text is.
    pub fn with_split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// The files and how each is written, in the order of `paths`, those of a folder or pattern
    /// sorted. Of a folder, files with an extension of the format are taken.
    ///
    /// # Errors
    /// When nothing is asked for, and when a file is missing or a folder or pattern holds none.
    pub fn files(&self) -> Result<Vec<(PathBuf, Format)>> {
        if self.paths.is_empty() {
            return Err(DataError::config("paths", "empty", "at least one file of documents"));
        }
        let mut files = Vec::new();
        for path in &self.paths {
            let before = files.len();
            for found in matching(path)? {
                if found.is_dir() {
                    let inside = files_under(&found)?.into_iter();
                    files.extend(inside.filter_map(|path| {
                        let format = Format::of(&path)?;
                        let wanted = self.format == Format::Auto || self.format == format;
                        wanted.then_some((path, format))
                    }));
                } else {
                    let format = match self.format {
                        Format::Auto => Format::of(&found).unwrap_or(Format::Text),
                        format => format,
                    };
                    files.push((found, format));
                }
            }
            if files.len() == before {
                let expected = "files that end in .txt, .md, .jsonl, .parquet, .tsv, .csv or .tar";
                return Err(DataError::NoDocuments { path: path.clone(), expected });
            }
        }
        Ok(files)
    }

    /// The files cut into parts of about `bytes` where their format allows, in order: what the parts
    /// yield one after another is what [`Documents::read`] yields.
    ///
    /// # Errors
    /// As [`Documents::files`], and when a file cannot be opened.
    pub fn parts(&self, bytes: u64) -> Result<Vec<DocumentShard>> {
        let mut parts = Vec::new();
        for (path, format) in self.files()? {
            part::cut(&path, format, self.split, bytes, &mut parts)?;
        }
        Ok(parts)
    }

    /// Streams all documents.
    ///
    /// # Errors
    /// As [`Documents::parts`]; the reader has its own.
    pub fn read(&self) -> Result<DocumentReader> {
        Ok(DocumentReader::new(self, self.parts(u64::MAX)?))
    }

    /// Streams the documents of one part.
    pub fn read_part(&self, part: DocumentShard) -> DocumentReader {
        DocumentReader::new(self, vec![part])
    }
}

/// Counts of what was read, and of what had to be done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Documents; pieces of one count once.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Texts that were not UTF-8, in which U+FFFD stands now.
    pub replaced: u64,
    /// Texts that were not UTF-8 and left out.
    pub skipped: u64,
    /// Blank texts, left out.
    pub empty: u64,
    /// Documents that were too long and cut into pieces.
    pub cut: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.replaced += other.replaced;
        self.skipped += other.skipped;
        self.empty += other.empty;
        self.cut += other.cut;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} documents, {:.1} MB", self.documents, self.bytes as f64 / 1e6)?;
        for (count, what) in [
            (self.replaced, "not all UTF-8"),
            (self.skipped, "left out as not UTF-8"),
            (self.empty, "empty"),
            (self.cut, "cut into pieces"),
        ] {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// The line, from 1, in which a byte of a file stands. Counted only where an error needs it.
fn line_at(path: &Path, offset: u64) -> usize {
    use std::io::{BufRead as _, BufReader, Read as _};
    let Ok(file) = std::fs::File::open(path) else { return 1 };
    let mut reader = BufReader::new(file.take(offset));
    let mut lines = 1;
    while let Ok(bytes) = reader.fill_buf()
        && !bytes.is_empty()
    {
        lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        let read = bytes.len();
        reader.consume(read);
    }
    lines
}

/// The error of the line that holds a byte.
fn line_error(path: &Path, offset: u64, reason: impl Into<String>) -> DataError {
    DataError::Line { path: path.into(), line: line_at(path, offset), reason: reason.into() }
}

#[cfg(test)]
mod tests;
