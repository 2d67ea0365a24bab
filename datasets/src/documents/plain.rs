//! Lines and pieces of plain text, from any stretch of a file.

use super::{
    PIECE, Split,
    record::{Context, Record},
};
use crate::{Result, files::unreadable};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// How far a cut may go back from the end of a piece to find white space, bytes.
const REACH: usize = 1 << 16;

/// Why reading a line stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A line break, which was read.
    Line,
    /// So many bytes.
    Limit,
    /// The end.
    End,
}

/// A stretch of a file, line by line.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<io::Take<File>>,
    /// Where the next byte stands in the file.
    pub offset: u64,
    /// Lines that begin here or behind are others'.
    end: u64,
}

impl Lines {
    /// The lines that begin in `start..end`.
    pub fn of_slice(path: &Path, start: u64, end: u64) -> io::Result<Self> {
        let mut lines = Self::open(path, start.saturating_sub(1), u64::MAX)?;
        lines.end = end;
        if start > 0 {
            // The line of the byte before belongs to the slice before.
            lines.skip_line()?;
        } else if lines.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            lines.reader.consume(3);
            lines.offset += 3;
        }
        Ok(lines)
    }

    /// The bytes of `offset..offset + size`, whatever they are.
    pub fn of_bytes(path: &Path, offset: u64, size: u64) -> io::Result<Self> {
        Self::open(path, offset, size)
    }

    fn open(path: &Path, offset: u64, size: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let reader = BufReader::with_capacity(1 << 16, file.take(size));
        Ok(Self { reader, offset, end: u64::MAX })
    }

    /// Whether a line that begins now is another slice's.
    pub fn is_past(&self) -> bool {
        self.offset >= self.end
    }

    /// Appends bytes up to and with the next line break, at most `limit`.
    pub fn read_line(&mut self, limit: usize, into: &mut Vec<u8>) -> io::Result<Stop> {
        let mut left = limit;
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(Stop::End);
            }
            let bytes = bytes.get(..left).unwrap_or(bytes);
            let line = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = line.unwrap_or(bytes.len());
            into.extend_from_slice(bytes.get(..taken).unwrap_or(bytes));
            self.reader.consume(taken);
            self.offset += taken as u64;
            left -= taken;
            if line.is_some() {
                return Ok(Stop::Line);
            }
            if left == 0 {
                return Ok(Stop::Limit);
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        let mut skipped = Vec::new();
        while self.read_line(PIECE, &mut skipped)? == Stop::Limit {
            skipped.clear();
        }
        Ok(())
    }
}

/// A piece of plain text, as it is in the file.
#[derive(Debug)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    /// Where it begins in the file.
    pub offset: u64,
    /// Whether the document goes on.
    pub open: bool,
}

/// Documents of plain text.
#[derive(Debug)]
pub(super) struct Plain {
    lines: Lines,
    split: Split,
    pending: Vec<u8>,
    /// Where the line that is being read begins in `pending`.
    line: usize,
}

impl Plain {
    pub fn new(lines: Lines, split: Split) -> Self {
        Self { lines, split, pending: Vec::new(), line: 0 }
    }

    pub fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if self.pending.len() >= PIECE {
                let piece = self.take(border(&self.pending), true);
                return Ok(Some(piece));
            }
            if self.split == Split::Lines && self.pending.is_empty() && self.lines.is_past() {
                return Ok(None);
            }
            match self.lines.read_line(PIECE - self.pending.len(), &mut self.pending)? {
                Stop::Limit => {}
                Stop::End => {
                    let all = self.pending.len();
                    return Ok((all > 0).then(|| self.take(all, false)));
                }
                Stop::Line => {
                    let line = self.pending.get(self.line..).unwrap_or_default();
                    let blank = line.trim_ascii().is_empty();
                    self.line = self.pending.len();
                    let closes = match self.split {
                        Split::File => false,
                        Split::Lines => true,
                        Split::BlankLines => blank,
                    };
                    if closes && self.split == Split::BlankLines && is_blank(&self.pending) {
                        // Between documents there may be many blank lines.
                        self.pending.clear();
                        self.line = 0;
                    } else if closes {
                        let all = self.pending.len();
                        return Ok(Some(self.take(all, false)));
                    }
                }
            }
        }
    }

    fn take(&mut self, length: usize, open: bool) -> Piece {
        let offset = self.lines.offset - self.pending.len() as u64;
        let rest = self.pending.split_off(length);
        let bytes = std::mem::replace(&mut self.pending, rest);
        self.line = self.line.saturating_sub(length);
        Piece { bytes, offset, open }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.trim_ascii().is_empty()
}

/// Where to cut text that is too long: behind the last line break, else behind the last white
/// space, else between characters; at most its length, and never 0 for more than 4 bytes.
pub(super) fn border(bytes: &[u8]) -> usize {
    let from = bytes.len() - REACH.min(bytes.len() / 2);
    let tail = bytes.get(from..).unwrap_or_default();
    let behind = |is_border: fn(&u8) -> bool| tail.iter().rposition(is_border);
    if let Some(at) =
        behind(|byte| *byte == b'\n').or_else(|| behind(|byte| byte.is_ascii_whitespace()))
    {
        return from + at + 1;
    }
    // The last character may be cut short: it is left for the next piece.
    let continuation = |byte: &&u8| **byte & 0xC0 == 0x80;
    let trailing = bytes.iter().rev().take(4).take_while(continuation).count();
    match bytes.len() - trailing {
        // Not UTF-8 anyway.
        _ if trailing == 4 => bytes.len(),
        0 => bytes.len(),
        first => first - usize::from(first > 1),
    }
}

/// The next piece of plain text, as text.
pub(super) fn plain_record(plain: &mut Plain, context: &mut Context) -> Result<Option<Record>> {
    let piece = plain.next().map_err(|source| unreadable(&context.path, source))?;
    let Some(piece) = piece else { return Ok(None) };
    let record = Record { open: piece.open, ..Record::default() };
    let Some(mut text) = context.decode(piece.bytes, piece.offset)? else {
        return Ok(Some(Record { skipped: true, ..record }));
    };
    // The line break that ends a document is not of it.
    if !piece.open && context.spec.split != Split::File {
        text.truncate(text.trim_end_matches(['\n', '\r']).len());
    }
    Ok(Some(Record { text, ..record }))
}
