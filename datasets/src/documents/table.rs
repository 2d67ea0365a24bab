//! Tables of text: TSV and CSV.

use super::{
    RECORD,
    json::whole_line,
    line_at,
    plain::Lines,
    reader::{Context, Record},
};
use crate::{
    DataError, Result, error::nearest, files::unreadable, table::read::separator, text::split_line,
};
use std::borrow::Cow;

/// A table with a header.
#[derive(Debug)]
pub(super) struct Table {
    lines: Lines,
    /// The separator of quoted cells; without, cells are separated by tabs and taken as they are.
    quoted: Option<char>,
    columns: usize,
    text: usize,
    metadata: Vec<(String, usize)>,
}

impl Table {
    /// A table whose rows are in `lines`; its header is at the begin of the file.
    pub fn open(context: &Context, mut lines: Lines, start: u64, csv: bool) -> Result<Self> {
        let failed = |source| unreadable(&context.path, source);
        let header = if start == 0 {
            whole_line(&mut lines, context)?
        } else {
            let mut first = Lines::of_slice(&context.path, 0, u64::MAX).map_err(failed)?;
            whole_line(&mut first, context)?
        };
        let (header, _) = header.unwrap_or_default();
        if header.contains(&0) {
            let reason = "it contains zero bytes: not a table of text";
            return Err(DataError::NotText { path: context.path.clone(), reason });
        }
        let header = String::from_utf8_lossy(&header);
        let header = header.trim_end_matches(['\n', '\r']);
        let quoted = csv.then(|| separator(header));
        let names: Vec<String> =
            cells(header, quoted).iter().map(|name| name.trim().to_owned()).collect();
        let column = |wanted: &str| {
            names.iter().position(|name| name == wanted).ok_or_else(|| DataError::UnknownColumn {
                path: context.path.clone(),
                column: wanted.to_owned(),
                nearest: nearest(wanted, names.iter().map(String::as_str)),
                columns: names.clone(),
            })
        };
        let text = column(&context.spec.field)?;
        let metadata = context.spec.metadata.iter();
        let metadata = metadata
            .map(|name| Ok((name.clone(), column(name)?)))
            .collect::<Result<Vec<(String, usize)>>>()?;
        Ok(Self { lines, quoted, columns: names.len(), text, metadata })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        loop {
            let Some((mut bytes, offset)) = whole_line(&mut self.lines, context)? else {
                return Ok(None);
            };
            // A line break inside quotes is part of its cell.
            while self.quoted.is_some() && is_open(&bytes) {
                let Some((more, _)) = whole_line(&mut self.lines, context)? else { break };
                bytes.extend(more);
                if bytes.len() > RECORD {
                    let reason = "a quote that is opened here is not closed";
                    return Err(context.line(&context.path, offset, reason));
                }
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let Some(row) = context.decode(bytes, offset)? else { continue };
            let cells = cells(row.trim_end_matches(['\n', '\r']), self.quoted);
            if cells.len() != self.columns {
                return Err(DataError::Ragged {
                    path: context.path.clone(),
                    row: line_at(&context.path, offset) - 1,
                    expected: self.columns,
                    found: cells.len(),
                });
            }
            let cell = |at: usize| cells.get(at).map(|cell| cell.clone().into_owned());
            let metadata = self.metadata.iter();
            let metadata =
                metadata.filter_map(|(name, at)| Some((name.clone(), cell(*at)?))).collect();
            let text = cell(self.text).unwrap_or_default();
            return Ok(Some(Record { text, metadata, ..Record::default() }));
        }
    }
}

fn cells(line: &str, quoted: Option<char>) -> Vec<Cow<'_, str>> {
    match quoted {
        Some(separator) => split_line(line, separator),
        None => line.split('\t').map(Cow::Borrowed).collect(),
    }
}

/// Whether a quote is left open.
fn is_open(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}
