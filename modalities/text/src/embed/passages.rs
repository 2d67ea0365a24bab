//! Documents as passages to embed.

use super::EmbedError;
use kiln_datasets::{
    DataError, Documents,
    documents::{DocumentReader, DocumentShard, Split, Tally},
    vectors::Passage,
};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    path::Path,
};
use tempfile::NamedTempFile;

/// Metadata of a record.
type Fields = BTreeMap<String, String>;

/// Documents, file after file, each with a number of its file or what a field says. Of a document
/// too long for one piece the first stands for all, unless the rest is asked for.
#[derive(Debug)]
pub struct Passages {
    spec: Documents,
    /// The field that names a document.
    id: Option<String>,
    /// The field of the text that a document's own is seen with.
    second: Option<String>,
    /// Whether later pieces of documents come, too.
    rest: bool,
    parts: VecDeque<DocumentShard>,
    current: Option<(String, DocumentReader)>,
    row: usize,
    tally: Tally,
    /// What came in, for as long as it is read.
    kept: Option<NamedTempFile>,
}

impl Passages {
    /// The documents of `spec` in the files that `wanted` picks.
    ///
    /// # Errors
    /// As [`Documents::parts`].
    pub fn new(
        mut spec: Documents,
        id: Option<&str>,
        wanted: impl Fn(&Path) -> bool,
    ) -> Result<Self, DataError> {
        spec.metadata.extend(id.map(str::to_owned));
        let mut parts: VecDeque<DocumentShard> = spec.parts(u64::MAX)?.into();
        parts.retain(|part| wanted(&part.path));
        let (id, tally) = (id.map(str::to_owned), Tally::default());
        let (second, rest) = (None, false);
        Ok(Self { spec, id, second, rest, parts, current: None, row: 0, tally, kept: None })
    }

    /// The texts of plain text that comes in, such as standard input; it is kept in a file
    /// meanwhile.
    ///
    /// # Errors
    /// When it cannot be read, or not be kept.
    pub fn of_stream(mut stream: impl Read, spec: &Documents, split: Split) -> io::Result<Self> {
        let mut kept = NamedTempFile::with_suffix(".txt")?;
        io::copy(&mut stream, &mut kept)?;
        let spec = Documents { split, paths: vec![kept.path().into()], ..spec.clone() };
        let passages = Self::new(spec, None, |_| true).map_err(io::Error::other)?;
        Ok(Self { kept: Some(kept), ..passages })
    }

    /// With the later pieces of documents, each a passage of the same name.
    pub fn with_rest(mut self) -> Self {
        self.rest = true;
        self
    }

    /// With a second text beside each, of this field.
    pub fn with_second(mut self, field: &str) -> Self {
        self.spec.metadata.push(field.to_owned());
        self.second = Some(field.to_owned());
        self
    }

    /// The next passage, with its second text where that is asked for.
    ///
    /// # Errors
    /// When it cannot be read, or has no second text.
    pub fn advance(&mut self) -> Result<Option<(Passage, Option<String>)>, EmbedError> {
        let Some((passage, mut fields)) = self.document()? else { return Ok(None) };
        let second = match &self.second {
            Some(field) => Some(fields.remove(field).ok_or_else(|| EmbedError::NoSecond {
                path: passage.source.clone().into(),
                id: passage.id.clone(),
                field: field.clone(),
            })?),
            None => None,
        };
        Ok(Some((passage, second)))
    }

    /// What was read so far.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        if let Some((_, reader)) = &self.current {
            tally += reader.tally();
        }
        tally
    }

    /// The next passage and the fields of its document.
    fn document(&mut self) -> Result<Option<(Passage, Fields)>, DataError> {
        loop {
            if let Some((source, reader)) = &mut self.current {
                match reader.next().transpose()? {
                    Some(document) if document.continues && !self.rest => continue,
                    Some(document) => {
                        self.row += usize::from(!document.continues);
                        let id = self.id.as_ref().and_then(|id| document.metadata.get(id));
                        let id = id.cloned().unwrap_or_else(|| self.row.to_string());
                        let passage = Passage { source: source.clone(), id, text: document.text };
                        return Ok(Some((passage, document.metadata)));
                    }
                    None => {
                        self.tally += reader.tally();
                        self.current = None;
                    }
                }
            }
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            let source = match self.kept {
                Some(_) => "-".to_owned(),
                None => part.path.display().to_string(),
            };
            self.row = 0;
            self.current = Some((source, self.spec.read_part(part)));
        }
    }
}

impl Iterator for Passages {
    type Item = Result<Passage, EmbedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|found| found.map(|(passage, _)| passage)).transpose()
    }
}
