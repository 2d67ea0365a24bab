//! Parquet files, a row group at a time.
//!
//! Rows come as data frames of Polars ([`ParquetFile::row_groups`]), or as arrays of Arrow
//! ([`ArrowFile`]) where a frame lacks the type: lists of fixed size.

use super::unknown_column;
use crate::{
    DataError, Result,
    files::unreadable,
    guard::{CONTRADICTION, guarded},
};
use polars::prelude::{DataFrame, ParquetReader, PolarsResult, SerReader};
use polars_arrow::{array::Array, datatypes::ArrowSchema};
use polars_parquet::read::{self, FileMetadata, RowGroupMetadata};
use std::{
    fs::File,
    io::{Cursor, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

/// What a Parquet file begins and ends with.
const MAGIC: &[u8; 4] = b"PAR1";

/// A Parquet file: its columns and row groups, without their values.
#[derive(Clone, Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// The rows of each row group.
    pub groups: Vec<Range<usize>>,
}

impl ParquetFile {
    /// Reads the schema and where the row groups are.
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = ParquetReader::new(open(path)?);
        let (columns, sizes) = guard(path, || {
            let columns = reader.schema()?.iter_names().map(ToString::to_string).collect();
            let groups = reader.get_metadata()?.row_groups.iter().map(|group| group.num_rows());
            Ok((columns, groups.collect::<Vec<_>>()))
        })?;
        let mut first = 0;
        let group = |rows| {
            first += rows;
            first - rows..first
        };
        Ok(Self { path: path.into(), columns, groups: sizes.into_iter().map(group).collect() })
    }

    /// Where a column is.
    pub fn column(&self, name: &str) -> Result<usize> {
        let place = self.columns.iter().position(|column| column == name);
        place.ok_or_else(|| unknown_column(&self.path, name, &self.columns))
    }

    /// The row groups as far as they lie in `rows`, only the columns at these places.
    pub fn row_groups(&self, rows: Range<usize>, mut columns: Vec<usize>) -> RowGroups {
        columns.sort_unstable();
        columns.dedup();
        let within = |group: &Range<usize>| group.start.max(rows.start)..group.end.min(rows.end);
        let groups: Vec<_> = self.groups.iter().map(within).filter(|g| !g.is_empty()).collect();
        RowGroups { path: self.path.clone(), groups: groups.into_iter(), columns }
    }

    /// All rows and columns.
    pub fn read(&self) -> Result<DataFrame> {
        let reader = ParquetReader::new(open(&self.path)?);
        guard(&self.path, || reader.finish())
    }
}

/// Row groups of a Parquet file, streamed up to the first error: the number of the first row, from
/// 0, and the rows.
#[derive(Debug)]
pub(crate) struct RowGroups {
    path: PathBuf,
    groups: std::vec::IntoIter<Range<usize>>,
    columns: Vec<usize>,
}

impl Iterator for RowGroups {
    type Item = Result<(usize, DataFrame)>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.groups.next()?;
        let frame = open(&self.path).and_then(|file| {
            let reader = ParquetReader::new(file)
                .with_slice(Some((group.start, group.len())))
                .with_projection(Some(self.columns.clone()));
            guard(&self.path, || reader.finish())
        });
        if frame.is_err() {
            self.groups = Vec::new().into_iter();
        }
        Some(frame.map(|frame| (group.start, frame)))
    }
}

/// A Parquet file by Arrow's types, opened for its columns' arrays.
pub(crate) struct ArrowFile {
    file: File,
    pub metadata: FileMetadata,
    schema: ArrowSchema,
}

impl ArrowFile {
    /// Reads the schema; runs inside [`guard`], as all that follows.
    pub fn new(mut file: File) -> PolarsResult<Self> {
        let metadata = read::read_metadata(&mut file)?;
        let schema = read::infer_schema(&metadata)?;
        Ok(Self { file, metadata, schema })
    }

    /// The arrays of a column in a row group; none where the file lacks it.
    pub fn column(
        &self,
        group: &RowGroupMetadata,
        name: &str,
    ) -> PolarsResult<Vec<Box<dyn Array>>> {
        let field = self.schema.get(name).zip(group.columns_under_root_iter(name));
        let Some((field, columns)) = field else { return Ok(Vec::new()) };
        let (mut pages, mut types) = (Vec::new(), Vec::new());
        for column in columns {
            let range = column.byte_range();
            let mut bytes = Vec::new();
            let mut file = &self.file;
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
            let reader =
                read::PageReader::new(Cursor::new(bytes.into()), column, vec![], usize::MAX);
            pages.push(read::BasicDecompressor::new(reader, vec![]));
            types.push(&column.descriptor().descriptor.primitive_type);
        }
        Ok(read::column_iter_to_arrays(pages, types, field.clone(), None)?.0)
    }
}

/// Opens a file that begins and ends as Parquet does.
pub(crate) fn open(path: &Path) -> Result<File> {
    let failed = |source| unreadable(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut end = [0; 4];
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if size >= 12 {
        file.seek(SeekFrom::End(-4)).map_err(failed)?;
        file.read_exact(&mut end).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    // The last four bytes repeat the first: a file cut short lacks them.
    if end == *MAGIC { Ok(file) } else { Err(damaged(path, "it is cut short".to_owned())) }
}

/// Whether a file begins as Parquet does.
pub(crate) fn is_parquet(path: &Path) -> Result<bool> {
    let failed = |source| unreadable(path, source);
    let mut begin = Vec::new();
    File::open(path).map_err(failed)?.take(4).read_to_end(&mut begin).map_err(failed)?;
    Ok(begin == MAGIC)
}

/// Why a Parquet file cannot be read.
pub(crate) fn damaged(path: &Path, reason: String) -> DataError {
    let reason = format!("Parquet, but damaged or of an unknown kind: {reason}");
    DataError::Format { path: path.into(), reason }
}

/// Runs one of Polars' readers, which may panic on damaged files.
pub(crate) fn guard<T>(path: &Path, read: impl FnOnce() -> PolarsResult<T>) -> Result<T> {
    let read = match guarded(read) {
        Some(Ok(read)) => Ok(read),
        // Polars' messages go on for lines with advice on its own options.
        Some(Err(error)) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        None => Err(CONTRADICTION.to_owned()),
    };
    read.map_err(|reason| damaged(path, reason))
}
