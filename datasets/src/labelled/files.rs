//! Lists of files, and their lines as text.

use crate::{
    DataError, Result,
    files::{locate, unreadable},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Which files to read, and how they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// The files, read one after the other. They are looked for here, then in the folder that
    /// `KILN_DATA` names.
    pub paths: Vec<PathBuf>,
    /// How rows are written.
    pub format: Format,
    /// Whether the first line of a TSV or CSV file names its columns; they are called `1`, `2`, ...
    /// where it does not.
    pub header: bool,
    /// How characters are written.
    pub encoding: Encoding,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: Format::Auto,
            header: true,
            encoding: Encoding::default(),
        }
    }
}

/// File format of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// As the file's name says: `.tsv` or `.txt`, `.csv`, `.jsonl` or `.ndjson`, `.json`,
    /// `.parquet`.
    #[default]
    Auto,
    /// A row a line, cells between tabs. Quotes are part of the text.
    Tsv,
    /// Cells between commas; quotes protect commas and line breaks.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// A JSON list of objects.
    Json,
    /// Parquet.
    Parquet,
}

/// Character encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// UTF-8; anything else is refused.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: a byte a character, as the CoNLL-2002 task was published.
    #[serde(rename = "latin-1")]
    Latin1,
}

impl Files {
    /// One or more files, all else by their names.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Where the files are.
    ///
    /// # Errors
    /// When there is none, or one is missing.
    pub(super) fn located(&self) -> Result<Vec<PathBuf>> {
        if self.paths.is_empty() {
            return Err(DataError::config("paths", "empty", "at least one file"));
        }
        self.paths.iter().map(|path| locate(path)).collect()
    }

    /// How the rows of a file are written.
    pub(super) fn format_of(&self, path: &Path) -> Result<Format> {
        if self.format != Format::Auto {
            return Ok(self.format);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "tsv" | "txt" => Ok(Format::Tsv),
            "csv" => Ok(Format::Csv),
            "jsonl" | "ndjson" => Ok(Format::Jsonl),
            // JSON lines are often named so.
            "json" if first_byte(path)? == Some(b'[') => Ok(Format::Json),
            "json" => Ok(Format::Jsonl),
            "parquet" => Ok(Format::Parquet),
            _ => Err(DataError::config(
                "format",
                format!("`auto`, and `{}` does not tell it", path.display()),
                "`tsv`, `csv`, `jsonl`, `json` or `parquet`",
            )),
        }
    }
}

/// The first byte that is no white space.
fn first_byte(path: &Path) -> Result<Option<u8>> {
    use std::io::Read as _;
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    for byte in BufReader::new(file).bytes() {
        let byte = byte.map_err(|source| unreadable(path, source))?;
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
    }
    Ok(None)
}

/// The lines of a file, without their ends, counted from 1.
pub(super) struct Lines {
    path: Arc<Path>,
    encoding: Encoding,
    reader: BufReader<File>,
    line: usize,
}

impl Lines {
    pub(super) fn open(path: &Path, encoding: Encoding) -> Result<Self> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        Ok(Self { path: path.into(), encoding, reader, line: 0 })
    }

    fn decode(&self, mut bytes: Vec<u8>) -> Result<String> {
        let fail = |reason: &str| DataError::Line {
            path: self.path.to_path_buf(),
            line: self.line,
            reason: reason.to_owned(),
        };
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.contains(&0) {
            return Err(fail("it has zero bytes; expected text"));
        }
        let text = match self.encoding {
            Encoding::Latin1 => bytes.into_iter().map(char::from).collect(),
            Encoding::Utf8 => String::from_utf8(bytes).map_err(|error| {
                let place = error.utf8_error().valid_up_to() + 1;
                fail(&format!(
                    "byte {place} is not UTF-8; save the file as UTF-8, or set `encoding = \
                     \"latin-1\"` if it is that"
                ))
            })?,
        };
        match (self.line, text.strip_prefix('\u{feff}')) {
            (1, Some(rest)) => Ok(rest.to_owned()),
            _ => Ok(text),
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(_) => {
                self.line += 1;
                Some(self.decode(bytes).map(|text| (self.line, text)))
            }
            Err(source) => Some(Err(unreadable(&self.path, source))),
        }
    }
}
