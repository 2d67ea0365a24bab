//! Where in a recipe's text a key and its value stand.

use std::ops::Range;
use toml_edit::{Document, Item, Key, TableLike, Value};

/// A key's place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// `stage.0.steps`
    path: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// The places of all keys of a text; none when the text is no TOML.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<Entry>);

impl Spans {
    /// Finds all keys.
    pub(super) fn new(text: &str) -> Self {
        let mut spans = Self::default();
        if let Ok(document) = Document::parse(text) {
            spans.table("", document.as_table());
        }
        spans
    }

    /// Where the value of a key stands, or else of the nearest table around it; the very start
    /// of the text when there is none.
    pub(super) fn value(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(entry) = self.0.iter().find(|entry| entry.path == path) {
                return entry.value.clone();
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return 0..0,
            }
        }
    }

    /// The path of the innermost key or value that a range lies in.
    pub(super) fn path_at(&self, range: &Range<usize>) -> Option<&str> {
        let holds = |outer: &Range<usize>| outer.start <= range.start && range.end <= outer.end;
        let inside = self.0.iter().filter(|entry| holds(&entry.key) || holds(&entry.value));
        inside.max_by_key(|entry| entry.path.split('.').count()).map(|entry| entry.path.as_str())
    }

    fn table(&mut self, parent: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let key = table.key(name).and_then(Key::span).unwrap_or_default();
            self.item(&join_key(parent, name), key, item);
        }
    }

    fn item(&mut self, path: &str, key: Range<usize>, item: &Item) {
        // A table that only its children mention has no place of its own: its key has.
        let value = item.span().filter(|span| !span.is_empty()).unwrap_or_else(|| key.clone());
        self.0.push(Entry { path: path.to_owned(), key, value });
        match item {
            Item::Table(table) => self.table(path, table),
            Item::ArrayOfTables(tables) => {
                for (index, table) in tables.iter().enumerate() {
                    let path = join_key(path, &index.to_string());
                    let span = table.span().unwrap_or_default();
                    self.0.push(Entry { path: path.clone(), key: span.clone(), value: span });
                    self.table(&path, table);
                }
            }
            Item::Value(value) => self.value_within(path, value),
            Item::None => {}
        }
    }

    fn value_within(&mut self, path: &str, value: &Value) {
        match value {
            Value::InlineTable(table) => self.table(path, table),
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    let path = join_key(path, &index.to_string());
                    let span = value.span().unwrap_or_default();
                    self.0.push(Entry { path: path.clone(), key: span.clone(), value: span });
                    self.value_within(&path, value);
                }
            }
            _ => {}
        }
    }
}

/// A key in the table at `parent`: `stage.0.steps`.
pub(crate) fn join_key(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
name = 'x'
[[stage]]
steps = 3
optimizer.adamw = { betas = [0.5, 0.9] }
[[stage]]
steps = 44
";

    fn at(path: &str) -> &'static str {
        let span = Spans::new(TEXT).value(path);
        TEXT.get(span).unwrap()
    }

    #[test]
    fn values_are_found_at_any_depth() {
        assert_eq!(at("name"), "'x'");
        assert_eq!(at("stage.1.steps"), "44");
        assert_eq!(at("stage.0.optimizer.adamw.betas.1"), "0.9");
    }

    #[test]
    fn what_is_left_out_points_at_the_table_around_it() {
        assert_eq!(at("stage.0.batch"), "[[stage]]");
        assert_eq!(at("stage.0.optimizer.adamw.epsilon"), "{ betas = [0.5, 0.9] }");
        assert_eq!(at("nothing"), "");
    }

    #[test]
    fn places_have_paths() {
        let spans = Spans::new(TEXT);
        let at = TEXT.find("0.9").unwrap();
        assert_eq!(spans.path_at(&(at..at + 3)), Some("stage.0.optimizer.adamw.betas.1"));
        let at = TEXT.find("44").unwrap();
        assert_eq!(spans.path_at(&(at..at + 2)), Some("stage.1.steps"));
    }
}
