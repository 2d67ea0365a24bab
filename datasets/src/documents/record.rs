//! Texts as files have them, before they are documents.

use super::{Documents, Invalid, Tally, line_at};
use crate::{DataError, Result, text::not_text};
use std::{collections::BTreeMap, path::PathBuf};

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
}
