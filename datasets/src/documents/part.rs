//! Parts of files, for readers that work in parallel.

use super::{Format, Split, parquet, shard};
use crate::{Result, files::unreadable};
use std::path::{Path, PathBuf};

/// Shard of documents: a file, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentShard {
    /// The file.
    pub path: PathBuf,
    /// How it is written, never `auto`.
    pub format: Format,
    /// Where the slice begins: a byte, a row of a Parquet file, a document of a tar file.
    pub start: u64,
    /// Where it ends. Lines belong to the slice that they begin in.
    pub end: u64,
}

/// Cuts a file into parts of about `bytes` each.
pub(super) fn cut(
    path: &Path,
    format: Format,
    split: Split,
    bytes: u64,
    parts: &mut Vec<DocumentShard>,
) -> Result<()> {
    let size = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.len();
    let mut add = |start, end| parts.push(DocumentShard { path: path.into(), format, start, end });
    let step = bytes.max(1);
    match format {
        Format::Parquet if step < size => {
            for (start, end) in parquet::slices(path, step)? {
                add(start, end);
            }
        }
        Format::Tar if step < size => {
            for (start, end) in shard::slices(path, step)? {
                add(start, end);
            }
        }
        // A row may go on behind a line break in quotes, and a document over many lines.
        Format::Csv | Format::Parquet | Format::Tar => add(0, u64::MAX),
        Format::Text if split != Split::Lines => add(0, u64::MAX),
        Format::Auto | Format::Text | Format::Jsonl | Format::Tsv => {
            let mut start = 0;
            loop {
                let end = start + step.min(size - start);
                add(start, end);
                if end >= size {
                    break;
                }
                start = end;
            }
        }
    }
    Ok(())
}
