//! Vectors of texts in files: NumPy's arrays, and Parquet with what each vector is of.
//!
//! Both are written piece by piece: what was written need not be kept in memory.

mod npy;
mod parquet;
#[cfg(test)]
mod tests;

pub use parquet::{Stored, read_parquet};

use crate::{DataError, Result};
use npy::NpyWriter;
use parquet::ParquetVectors;
use std::{
    io::{Seek, Write},
    path::Path,
};

/// Embedding vectors of one width, `[vectors, width]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// Numbers of a vector.
    pub width: usize,
    /// `[vectors, width]`, row after row.
    pub values: Vec<f32>,
}

impl Vectors {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One after the other.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// Passage: a text, and where it is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// The file.
    pub source: String,
    /// What tells it from others of the file: its number from 1, or what a field says.
    pub id: String,
    /// The text.
    pub text: String,
}

/// File format of embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorFormat {
    /// An array of NumPy, `[vectors, width]`, f32, in the order of the texts.
    Npy,
    /// A table with the columns `source`, `id`, `embedding` (a list of fixed size) and, where that
    /// is asked for, `text`.
    Parquet {
        /// Whether the texts are in it.
        texts: bool,
    },
}

impl VectorFormat {
    /// What a file's extension says: `.npy` or `.parquet`.
    pub fn of(path: &Path, texts: bool) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "npy" => Some(Self::Npy),
            "parquet" => Some(Self::Parquet { texts }),
            _ => None,
        }
    }
}

/// Streaming writer of embeddings.
pub struct VectorWriter<W: Write + Seek>(Kind<W>);

enum Kind<W: Write + Seek> {
    Npy(NpyWriter<W>),
    Parquet(Box<ParquetVectors<W>>),
}

impl<W: Write + Seek> VectorWriter<W> {
    /// For vectors of a width; `path` is what errors name.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(format: VectorFormat, width: usize, out: W, path: &Path) -> Result<Self> {
        Ok(Self(match format {
            VectorFormat::Npy => Kind::Npy(NpyWriter::new(width, out, path)?),
            VectorFormat::Parquet { texts } => {
                Kind::Parquet(Box::new(ParquetVectors::new(width, texts, out, path)?))
            }
        }))
    }

    /// Writes some more: as many vectors as passages.
    ///
    /// # Errors
    /// When the file cannot be written, and when widths or counts differ.
    pub fn write(&mut self, passages: &[Passage], vectors: &Vectors) -> Result<()> {
        match &mut self.0 {
            Kind::Npy(writer) => writer.write(vectors),
            Kind::Parquet(writer) => writer.write(passages, vectors),
        }
    }

    /// Writes what comes last: of Parquet with notes, which readers find in its metadata.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self, notes: &[(String, String)]) -> Result<W> {
        match self.0 {
            Kind::Npy(writer) => writer.finish(),
            Kind::Parquet(writer) => writer.finish(notes),
        }
    }
}

/// A file that could not be written.
fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
    move |source| DataError::Write { path: path.into(), source }
}
