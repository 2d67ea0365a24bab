//! Parquet with a column of vectors: a group of rows for each piece.
//!
//! Parquet itself has only lists; that all are of one length is told by Arrow's schema in the file's
//! metadata, as other writers do it.

use super::{Passage, Vectors};
use crate::{
    DataError, Result,
    tabular::parquet::{ArrowFile, damaged, guard, open},
};
use polars_arrow::{
    array::{Array, FixedSizeListArray, PrimitiveArray, Utf8ViewArray},
    datatypes::{ArrowDataType, ArrowSchema, Field},
    record_batch::RecordBatchT,
};
use polars_parquet::write::{
    CompressionOptions, Encoding, FileWriter, KeyValue, StatisticsOptions, Version, WriteOptions,
    row_group_iter, schema_to_metadata_key, to_parquet_schema,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

const SOURCE: &str = "source";
const ID: &str = "id";
const TEXT: &str = "text";
const EMBEDDING: &str = "embedding";

/// Vectors are noise to a compressor.
const OPTIONS: WriteOptions = WriteOptions {
    statistics: StatisticsOptions {
        min_value: false,
        max_value: false,
        distinct_count: false,
        null_count: false,
        binary_statistics_truncate_length: None,
    },
    version: Version::V1,
    compression: CompressionOptions::Uncompressed,
    data_page_size: None,
};

/// A table of passages and their vectors.
pub(super) struct ParquetVectors<W: Write> {
    writer: FileWriter<W>,
    schema: ArrowSchema,
    path: PathBuf,
    width: usize,
    texts: bool,
}

impl<W: Write> ParquetVectors<W> {
    pub fn new(width: usize, texts: bool, out: W, path: &Path) -> Result<Self> {
        let text = |name: &str| Field::new(name.into(), ArrowDataType::Utf8View, false);
        let mut fields = vec![text(SOURCE), text(ID)];
        fields.extend(texts.then(|| text(TEXT)));
        fields.push(Field::new(EMBEDDING.into(), list_of(width), false));
        let schema: ArrowSchema =
            fields.into_iter().map(|field| (field.name.clone(), field)).collect();
        let writer = FileWriter::try_new(out, schema.clone(), OPTIONS).map_err(failed(path))?;
        Ok(Self { writer, schema, path: path.into(), width, texts })
    }

    pub fn write(&mut self, passages: &[Passage], vectors: &Vectors) -> Result<()> {
        let rows = vectors.len();
        if vectors.width != self.width || passages.len() != rows {
            let found = format!("{} of {} for {} texts", rows, vectors.width, passages.len());
            let expected = format!("a vector of {} numbers for each text", self.width);
            return Err(DataError::config("vectors", found, expected));
        }
        if rows == 0 {
            return Ok(());
        }
        let column = |of: fn(&Passage) -> &str| {
            let texts: Vec<&str> = passages.iter().map(of).collect();
            Utf8ViewArray::from_slice_values(texts).boxed()
        };
        let mut arrays = vec![column(|passage| &passage.source), column(|passage| &passage.id)];
        arrays.extend(self.texts.then(|| column(|passage| &passage.text)));
        let values = PrimitiveArray::from_vec(vectors.values.clone()).boxed();
        arrays.push(FixedSizeListArray::new(list_of(self.width), rows, values, None).boxed());
        let mut encodings = vec![vec![Encoding::Plain]; arrays.len()];
        // Sources repeat themselves.
        if let Some(first) = encodings.first_mut() {
            *first = vec![Encoding::RleDictionary];
        }
        let write = || {
            let fields = to_parquet_schema(&self.schema)?.fields().to_vec();
            let batch = RecordBatchT::try_new(rows, Arc::new(self.schema.clone()), arrays)?;
            let group = row_group_iter(batch, encodings.into(), fields, OPTIONS);
            self.writer.write(rows as u64, group)
        };
        write().map_err(failed(&self.path))
    }

    pub fn finish(mut self, notes: &[(String, String)]) -> Result<W> {
        let mut metadata = vec![schema_to_metadata_key(&self.schema)];
        metadata.extend(
            notes
                .iter()
                .map(|(key, value)| KeyValue { key: key.clone(), value: Some(value.clone()) }),
        );
        self.writer.end(Some(metadata)).map_err(failed(&self.path))?;
        Ok(self.writer.into_inner())
    }
}

fn list_of(width: usize) -> ArrowDataType {
    let item = Field::new("item".into(), ArrowDataType::Float32, false);
    ArrowDataType::FixedSizeList(Box::new(item), width)
}

fn failed(path: &Path) -> impl FnOnce(polars::prelude::PolarsError) -> DataError + '_ {
    let source = |error: polars::prelude::PolarsError| std::io::Error::other(error.to_string());
    move |error| DataError::Write { path: path.into(), source: source(error) }
}

/// What a file of vectors holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// What the vectors are of; without texts where the file has none.
    pub passages: Vec<Passage>,
    /// The vectors.
    pub vectors: Vectors,
    /// The notes that were written with them, and those of other writers.
    pub notes: Vec<(String, String)>,
}

/// Reads a file that a [`VectorWriter`](super::VectorWriter) wrote as Parquet.
///
/// # Errors
/// When it cannot be read, or is no such file.
pub fn read_parquet(path: &Path) -> Result<Stored> {
    let file = open(path)?;
    let stored = guard(path, || {
        let file = ArrowFile::new(file)?;
        let mut stored = Stored::default();
        let notes = file.metadata.key_value_metadata().iter().flatten();
        stored.notes =
            notes.filter_map(|note| Some((note.key.clone(), note.value.clone()?))).collect();
        for group in &file.metadata.row_groups {
            let read = |name| file.column(group, name);
            let (sources, ids, texts) =
                (strings(&read(SOURCE)?), strings(&read(ID)?), strings(&read(TEXT)?));
            let mut texts = texts.into_iter();
            for (source, id) in sources.into_iter().zip(ids) {
                let text = texts.next().unwrap_or_default();
                stored.passages.push(Passage { source, id, text });
            }
            for array in read(EMBEDDING)? {
                let lists = array.as_any().downcast_ref::<FixedSizeListArray>();
                let values = lists.and_then(|lists| {
                    stored.vectors.width = lists.size();
                    lists.values().as_any().downcast_ref::<PrimitiveArray<f32>>()
                });
                stored.vectors.values.extend(values.iter().flat_map(|values| values.values_iter()));
            }
        }
        Ok(stored)
    })?;
    if stored.vectors.len() != stored.passages.len() {
        let reason = format!(
            "{} vectors of fixed size in `{EMBEDDING}` for {} rows of `{SOURCE}` and `{ID}`",
            stored.vectors.len(),
            stored.passages.len()
        );
        return Err(damaged(path, reason));
    }
    Ok(stored)
}

fn strings(arrays: &[Box<dyn Array>]) -> Vec<String> {
    let views = arrays.iter().filter_map(|array| array.as_any().downcast_ref::<Utf8ViewArray>());
    views.flat_map(|view| view.values_iter().map(str::to_owned)).collect()
}
