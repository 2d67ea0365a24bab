//! Delimited text: CSV (RFC 4180), TSV, and the like with any other delimiter.
//!
//! [`Records`] joins the lines of a quoted cell that holds line breaks, [`Dialect::cells`] splits a
//! record. A quote opens a quoted cell only at the beginning of a cell; elsewhere it is a
//! character.

use crate::Result;
use std::{borrow::Cow, mem::take};

/// Bytes of a record, at most, as far as a quote joins lines: a quote that is open for longer is
/// taken for one that is never closed.
const MAX_JOINED: usize = 64 << 20;

/// What a quote that is not closed is called in errors.
pub(crate) const UNCLOSED: &str = "a quote is opened and never closed";

/// CSV dialect: the delimiter, and whether cells may be quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub delimiter: char,
    /// Whether quotes protect delimiters and line breaks; without, they are characters.
    pub quoted: bool,
}

/// Where in a record a scan stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but spaces of the cell was read.
    CellStart,
    /// In a cell without quotes, or behind the quotes of one.
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted cell: another makes it a character.
    QuoteInQuoted,
}

impl Dialect {
    /// Comma-separated values, quoted where needed.
    pub const CSV: Self = Self { delimiter: ',', quoted: true };
    /// Tab-separated values, taken as they are.
    pub const TSV: Self = Self { delimiter: '\t', quoted: false };

    /// Guesses the delimiter of a file with quotes: the one that its header has most of outside
    /// quotes.
    pub fn sniff(header: &str) -> Self {
        let count = |delimiter: &char| {
            let mut quoted = false;
            let outside = |character: &char| {
                quoted ^= *character == '"';
                !quoted && character == delimiter
            };
            header.chars().filter(outside).count()
        };
        // Later ones win ties in `max_by_key`, and a comma is the likeliest.
        let delimiter = ['|', '\t', ';', ','].into_iter().max_by_key(count).unwrap_or(',');
        Self { delimiter, quoted: true }
    }

    /// The cells of a record without its line break; quotes are removed, doubled ones are one.
    pub fn cells<'a>(&self, record: &'a str) -> Vec<Cow<'a, str>> {
        if !self.quoted || !record.contains('"') {
            return record.split(self.delimiter).map(Cow::Borrowed).collect();
        }
        let (mut cells, mut cell) = (Vec::new(), String::new());
        let mut state = State::CellStart;
        for character in record.chars() {
            let next = self.next(state, character);
            match character {
                // An opening or a closing quote, or the first of two.
                '"' if next == State::Quoted && state != State::QuoteInQuoted => {}
                '"' if next == State::QuoteInQuoted => {}
                _ if next == State::CellStart && character == self.delimiter => {
                    cells.push(Cow::Owned(take(&mut cell)));
                }
                _ => cell.push(character),
            }
            state = next;
        }
        cells.push(Cow::Owned(cell));
        cells
    }

    fn next(&self, state: State, character: char) -> State {
        match (state, character) {
            (State::Quoted, '"') => State::QuoteInQuoted,
            (State::Quoted, _) | (State::CellStart | State::QuoteInQuoted, '"') => State::Quoted,
            _ if character == self.delimiter => State::CellStart,
            (State::CellStart, ' ') => State::CellStart,
            _ => State::Unquoted,
        }
    }
}

/// A line of text or bytes that a next one can be joined to.
pub(crate) trait Line: AsRef<[u8]> {
    /// Joins the next line, with the line break between them.
    fn join(&mut self, next: Self);
}

/// Without its line break.
impl Line for String {
    fn join(&mut self, next: Self) {
        self.push('\n');
        self.push_str(&next);
    }
}

/// With its line break.
impl Line for Vec<u8> {
    fn join(&mut self, next: Self) {
        self.extend(next);
    }
}

/// A record: a line, or several that a quoted cell joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<P, T> {
    /// Where its first line is.
    pub place: P,
    pub text: T,
    /// False where a quote is opened and never closed.
    pub closed: bool,
}

/// The records of a delimited file, streamed: lines with their places, joined where a quoted cell
/// goes on, blank ones left out in between.
#[derive(Debug)]
pub(crate) struct Records<L> {
    pub lines: L,
    pub dialect: Dialect,
    /// Whether blank lines between records are records.
    pub blank: bool,
}

impl<L> Records<L> {
    /// The records of these lines, without blank ones.
    pub fn new(lines: L, dialect: Dialect) -> Self {
        Self { lines, dialect, blank: false }
    }
}

impl<P, T: Line, L: Iterator<Item = Result<(P, T)>>> Iterator for Records<L> {
    type Item = Result<Record<P, T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (place, mut text) = loop {
            match self.lines.next()? {
                Ok((_, text)) if !self.blank && text.as_ref().trim_ascii().is_empty() => {}
                Ok(line) => break line,
                Err(error) => return Some(Err(error)),
            }
        };
        let mut state = self.dialect.scan(State::CellStart, text.as_ref());
        while state == State::Quoted && text.as_ref().len() <= MAX_JOINED {
            match self.lines.next() {
                Some(Ok((_, more))) => {
                    state = self.dialect.scan(state, more.as_ref());
                    text.join(more);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        Some(Ok(Record { place, text, closed: state != State::Quoted }))
    }
}

impl Dialect {
    /// The state behind a line that begins in `state`.
    fn scan(self, state: State, line: &[u8]) -> State {
        if !self.quoted || (state != State::Quoted && !line.contains(&b'"')) {
            return State::Unquoted;
        }
        // Delimiters and quotes are ASCII, which no other character of UTF-8 contains.
        line.iter().fold(state, |state, byte| self.next(state, char::from(*byte)))
    }
}

/// The lines of a text in memory, counted from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<(usize, String)>> {
    text.lines().zip(1..).map(|(line, number)| Ok((number, line.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_delimiters() {
        let cells = |text| Dialect::CSV.cells(text);
        assert_eq!(cells("a,b,"), ["a", "b", ""]);
        assert_eq!(cells(r#""a,1","say ""hi""",3"#), ["a,1", "say \"hi\"", "3"]);
        assert_eq!(cells(""), [""]);
        assert_eq!(cells(r#""","" , "b,c","d"e"#), ["", " ", " b,c", "de"]);
        assert_eq!(cells(r#"5" pipe,"6"" pipe",7""#), ["5\" pipe", "6\" pipe", "7\""]);
        assert_eq!(Dialect::TSV.cells("say \"hi\tbye"), ["say \"hi", "bye"]);
        assert_eq!(Dialect::sniff("a;\"b,c,d\";e").delimiter, ';');
        assert_eq!(Dialect::sniff("a").delimiter, ',');
    }

    #[test]
    fn quoted_cells_join_lines() {
        let records = |text: &str, blank| {
            let records = Records { lines: lines(text), dialect: Dialect::CSV, blank };
            let record = |record: Result<Record<_, String>>| record.unwrap();
            records.map(record).map(|r| (r.place, r.text, r.closed)).collect::<Vec<_>>()
        };
        let text = "a,\"b\n\n\"\"c\"\n\n5\" pipe,d\n\"e\nf\n";
        let expected = [
            (1, "a,\"b\n\n\"\"c\"".to_owned(), true),
            (5, "5\" pipe,d".to_owned(), true),
            (6, "\"e\nf".to_owned(), false),
        ];
        assert_eq!(records(text, false), expected);
        assert_eq!(records(text, true).len(), 4);
        assert_eq!(records("a\n \n", true)[1], (2, " ".to_owned(), true));
    }
}
