//! ARPA files, as SRILM, KenLM and others write them.

use super::{
    MAX_ORDER, NgramModel, START, UNKNOWN,
    assemble::Table,
    error::{NgramError, Result},
};
use kiln_host::{FileError, write_atomic};
use rustc_hash::FxHashMap;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    sync::Arc,
};

impl NgramModel {
    /// Reads an ARPA file.
    ///
    /// # Errors
    /// When it cannot be read, or has a mistake: the message names the line.
    pub fn read_arpa(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(FileError::new("read", path))?;
        Self::parse_arpa(BufReader::new(file), path)
    }

    /// Reads the text of an ARPA file; `path` is for messages.
    ///
    /// # Errors
    /// As [`NgramModel::read_arpa`].
    pub fn parse_arpa(text: impl BufRead, path: &Path) -> Result<Self> {
        Parser { text, path, line: 0, current: String::new() }.model()
    }

    /// Writes the model as an ARPA file, in full or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_arpa(&self, path: &Path) -> Result<()> {
        Ok(write_atomic(path, |out| self.print_arpa(out))?)
    }

    /// Writes the model as the text of an ARPA file. Reading it gives the same numbers.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print_arpa(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\\data\\")?;
        for (index, count) in self.counts().iter().enumerate() {
            writeln!(out, "ngram {}={count}", index + 1)?;
        }
        for order in 1..=self.order {
            writeln!(out, "\n\\{order}-grams:")?;
            self.print_ngrams(order, 0, &mut Vec::new(), out)?;
        }
        writeln!(out, "\n\\end\\")
    }

    fn print_ngrams(
        &self,
        order: usize,
        context: u32,
        words: &mut Vec<u32>,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        for edge in &self.edges[self.continuations(context)] {
            words.push(edge.word);
            // A context of another order is what remains of an n-gram that is none itself.
            let own = self
                .starts
                .get(words.len())
                .filter(|start| edge.next >= **start)
                .map(|_| edge.next);
            if words.len() < order {
                if let Some(context) = own {
                    self.print_ngrams(order, context, words, out)?;
                }
            } else if order > 1 || edge.word != 0 || self.has_unknown {
                write!(out, "{}\t", edge.log10)?;
                for (index, word) in words.iter().enumerate() {
                    let space = if index > 0 { " " } else { "" };
                    write!(out, "{space}{}", self.words[*word as usize])?;
                }
                if let Some(context) = own {
                    write!(out, "\t{}", self.contexts[context as usize].backoff)?;
                }
                writeln!(out)?;
            }
            words.pop();
        }
        Ok(())
    }
}

struct Parser<'a, R> {
    text: R,
    path: &'a Path,
    /// Counted from 1.
    line: usize,
    current: String,
}

impl<R: BufRead> Parser<'_, R> {
    fn model(mut self) -> Result<NgramModel> {
        let counts = self.header()?;
        let mut words: Vec<Arc<str>> = vec![UNKNOWN.into()];
        let mut ids: FxHashMap<Arc<str>, u32> = FxHashMap::default();
        let mut tables = Vec::new();
        for (index, count) in counts.iter().enumerate() {
            let order = index + 1;
            let title = format!("\\{order}-grams:");
            if self.current != title {
                return Err(self.wrong(format!("`{title}`")));
            }
            let mut table = Table::new(order);
            let first = self.line;
            let mut ngram = Vec::with_capacity(order);
            loop {
                self.next("an n-gram or `\\end\\`")?;
                if self.current.starts_with('\\') {
                    break;
                }
                ngram.clear();
                let line = std::mem::take(&mut self.current);
                let (log10, backoff) = self.ngram(
                    &line,
                    order,
                    counts.len(),
                    |word| {
                        if order > 1 {
                            return ids.get(word).copied();
                        }
                        let id = if word == UNKNOWN { 0 } else { words.len() as u32 };
                        if id > 0 {
                            words.push(word.into());
                        }
                        ids.insert(word.into(), id).is_none().then_some(id)
                    },
                    &mut ngram,
                )?;
                table.push(&ngram, log10, backoff);
                self.current = line;
            }
            if table.len() != *count {
                let expected = format!("{count} n-grams of order {order} from line {}", first + 1);
                return Err(self.error(expected, format!("{} before this", table.len())));
            }
            if let Some(twice) = table.sort() {
                let ngram = table.ngram(twice);
                let text: Vec<&str> = ngram.iter().map(|id| words[*id as usize].as_ref()).collect();
                let found = format!("`{}` twice", text.join(" "));
                return Err(self.error(format!("each n-gram of order {order} once"), found));
            }
            tables.push(table);
        }
        if self.current != "\\end\\" {
            return Err(self.wrong("`\\end\\`".into()));
        }
        NgramModel::assemble(words, tables)
    }

    /// The counts of `\data\`; stops at the first line behind them.
    fn header(&mut self) -> Result<Vec<usize>> {
        while self.current != "\\data\\" {
            self.next("`\\data\\`")?;
        }
        let mut counts = Vec::new();
        loop {
            self.next("`ngram 1=` and a count")?;
            let Some(rest) = self.current.strip_prefix("ngram ") else { break };
            let count = rest.split_once('=').and_then(|(order, count)| {
                let order: usize = order.trim().parse().ok()?;
                (order == counts.len() + 1).then(|| count.trim().parse().ok())?
            });
            let Some(count) = count else {
                return Err(self.wrong(format!("`ngram {}=` and a count", counts.len() + 1)));
            };
            counts.push(count);
        }
        if counts.is_empty() {
            return Err(self.wrong("`ngram 1=` and a count".into()));
        }
        if counts.len() > MAX_ORDER {
            let expected = format!("n-grams up to order {MAX_ORDER}");
            return Err(self.error(expected, format!("order {}", counts.len())));
        }
        Ok(counts)
    }

    /// One line: probability, words, backoff where a longer n-gram may follow.
    fn ngram(
        &self,
        line: &str,
        order: usize,
        orders: usize,
        mut id: impl FnMut(&str) -> Option<u32>,
        ngram: &mut Vec<u32>,
    ) -> Result<(f32, f32)> {
        let error = |expected: String| self.error(expected, format!("`{line}`"));
        let mut fields = line.split_ascii_whitespace();
        let log10 = fields.next().unwrap_or_default();
        let log10 = number(log10)
            .filter(|log10| *log10 <= 0.0)
            .ok_or_else(|| error("a base-10 logarithm of a probability, at most 0".into()))?;
        for word in fields.by_ref().take(order) {
            let word = if word.eq_ignore_ascii_case(UNKNOWN) { UNKNOWN } else { word };
            let expected = match order {
                1 => "each word once",
                _ => "words that are 1-grams, too",
            };
            let id = id(word)
                .ok_or_else(|| self.error(expected.into(), format!("`{word}`, in `{line}`")))?;
            ngram.push(id);
        }
        if ngram.len() < order {
            return Err(error(format!("{order} words")));
        }
        let backoff = match fields.next() {
            None => 0.0,
            Some(text) if order < orders => {
                number(text).ok_or_else(|| error("a number for the backoff".into()))?
            }
            // Harmless: nothing can follow the longest n-grams.
            Some(text) if number(text) == Some(0.0) => 0.0,
            Some(_) => return Err(error(format!("{order} words and no backoff"))),
        };
        if fields.next().is_some() {
            return Err(error(format!("{order} words and a backoff")));
        }
        // By convention, what starts a sentence is never predicted.
        let log10 = if order == 1 && line.split_ascii_whitespace().nth(1) == Some(START) {
            log10.min(-99.0)
        } else {
            log10
        };
        Ok((log10, backoff))
    }

    /// The next line that is not empty, into `current`.
    ///
    /// # Errors
    /// At the end of the file.
    fn next(&mut self, expected: &str) -> Result<()> {
        loop {
            self.line += 1;
            self.current.clear();
            match self.text.read_line(&mut self.current) {
                Ok(0) => {
                    return Err(self.error(expected.into(), "the end of the file".into()));
                }
                Ok(_) => {}
                Err(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(self.error("UTF-8".into(), "other bytes".into()));
                }
                Err(source) => {
                    return Err(FileError::new("read", self.path)(source).into());
                }
            }
            let length = self.current.trim_ascii_end().len();
            self.current.truncate(length);
            if !self.current.is_empty() {
                return Ok(());
            }
        }
    }

    fn wrong(&self, expected: String) -> NgramError {
        self.error(expected, format!("`{}`", self.current))
    }

    fn error(&self, expected: String, found: String) -> NgramError {
        NgramError::Arpa { path: self.path.to_path_buf(), line: self.line, expected, found }
    }
}

/// A number or minus infinity.
fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| !number.is_nan() && *number != f32::INFINITY)
}
