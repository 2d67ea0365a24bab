//! Documents as passages to embed.

use super::EmbedError;
use kiln_datasets::{
    DataError, Documents,
    documents::{DocumentReader, Part, Split, Tally},
    vectors::Passage,
};
use std::{
    collections::VecDeque,
    io::{self, Read},
    path::Path,
};
use tempfile::NamedTempFile;

/// Documents, file after file, each with a number of its file or what a field says. Of a document
/// too long for one piece the first stands for all: no model reads as much.
#[derive(Debug)]
pub struct Passages {
    spec: Documents,
    /// The field that names a document.
    id: Option<String>,
    parts: VecDeque<Part>,
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
        let mut parts: VecDeque<Part> = spec.parts(u64::MAX)?.into();
        parts.retain(|part| wanted(&part.path));
        let (id, tally) = (id.map(str::to_owned), Tally::default());
        Ok(Self { spec, id, parts, current: None, row: 0, tally, kept: None })
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

    /// What was read so far.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        if let Some((_, reader)) = &self.current {
            tally += reader.tally();
        }
        tally
    }

    fn advance(&mut self) -> Result<Option<Passage>, DataError> {
        loop {
            if let Some((source, reader)) = &mut self.current {
                match reader.next().transpose()? {
                    Some(document) if document.continues => continue,
                    Some(document) => {
                        self.row += 1;
                        let id = self.id.as_ref().and_then(|id| document.metadata.get(id));
                        let id = id.cloned().unwrap_or_else(|| self.row.to_string());
                        return Ok(Some(Passage {
                            source: source.clone(),
                            id,
                            text: document.text,
                        }));
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
        self.advance().map_err(EmbedError::from).transpose()
    }
}
