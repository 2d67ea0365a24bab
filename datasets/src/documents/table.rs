//! Tables of text: TSV and CSV.

use super::{
    json::WholeLines,
    line_at, line_error,
    record::{Context, Record},
};
use crate::{
    DataError, Result,
    tabular::{
        delimited::{Dialect, Records, UNCLOSED},
        unknown_column,
    },
};

/// A table with a header.
#[derive(Debug)]
pub(super) struct Table {
    records: Records<WholeLines>,
    columns: usize,
    text: usize,
    metadata: Vec<(String, usize)>,
}

impl Table {
    /// A table whose rows are in the slice `start..end`; its header is at the begin of the file.
    pub fn open(context: &Context, start: u64, end: u64, csv: bool) -> Result<Self> {
        let path = &context.path;
        let mut lines = WholeLines::open(path, start, end)?;
        let header = match start {
            0 => lines.next(),
            _ => WholeLines::open(path, 0, u64::MAX)?.next(),
        };
        let (_, header) = header.transpose()?.unwrap_or_default();
        if header.contains(&0) {
            let reason = "it contains zero bytes: not a table of text";
            return Err(DataError::NotText { path: path.clone(), reason });
        }
        let header = String::from_utf8_lossy(&header);
        let header = header.trim_end_matches(['\n', '\r']);
        let dialect = if csv { Dialect::sniff(header) } else { Dialect::TSV };
        let names: Vec<String> =
            dialect.cells(header).iter().map(|name| name.trim().to_owned()).collect();
        let column = |wanted: &str| {
            let place = names.iter().position(|name| name == wanted);
            place.ok_or_else(|| unknown_column(path, wanted, &names))
        };
        let text = column(&context.spec.field)?;
        let metadata = context.spec.metadata.iter();
        let metadata = metadata
            .map(|name| Ok((name.clone(), column(name)?)))
            .collect::<Result<Vec<(String, usize)>>>()?;
        Ok(Self { records: Records::new(lines, dialect), columns: names.len(), text, metadata })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        loop {
            let Some(record) = self.records.next().transpose()? else { return Ok(None) };
            if !record.closed {
                return Err(line_error(&context.path, record.place, UNCLOSED));
            }
            let Some(row) = context.decode(record.text, record.place)? else { continue };
            let cells = self.records.dialect.cells(row.trim_end_matches(['\n', '\r']));
            if cells.len() != self.columns {
                return Err(DataError::Ragged {
                    path: context.path.clone(),
                    row: line_at(&context.path, record.place) - 1,
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
