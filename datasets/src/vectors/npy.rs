//! NumPy's arrays, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::{Vectors, unwritable};
use crate::{DataError, Result};
use std::{
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Bytes before the numbers: room for any count, and numbers that are aligned.
const HEADER: usize = 128;

/// An array `[vectors, width]` whose length is written at the end.
pub(super) struct NpyWriter<W> {
    out: W,
    path: PathBuf,
    width: usize,
    rows: usize,
}

impl<W: Write + Seek> NpyWriter<W> {
    pub fn new(width: usize, mut out: W, path: &Path) -> Result<Self> {
        out.write_all(&header(0, width)).map_err(unwritable(path))?;
        Ok(Self { out, path: path.into(), width, rows: 0 })
    }

    pub fn write(&mut self, vectors: &Vectors) -> Result<()> {
        if vectors.width != self.width {
            let found = vectors.width.to_string();
            return Err(DataError::config("width", found, format!("{}", self.width)));
        }
        let bytes: Vec<u8> = vectors.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.out.write_all(&bytes).map_err(unwritable(&self.path))?;
        self.rows += vectors.len();
        Ok(())
    }

    pub fn finish(mut self) -> Result<W> {
        let header = header(self.rows, self.width);
        self.out
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.out.write_all(&header))
            .and_then(|()| self.out.seek(SeekFrom::End(0)))
            .map_err(unwritable(&self.path))?;
        Ok(self.out)
    }
}

/// Magic, version 1.0, the length of what follows, and the array's description.
fn header(rows: usize, width: usize) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((HEADER - 10) as u16).to_le_bytes());
    let shape = format!("({rows}, {width})");
    header
        .extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}").bytes());
    header.resize(HEADER - 1, b' ');
    header.push(b'\n');
    header
}
