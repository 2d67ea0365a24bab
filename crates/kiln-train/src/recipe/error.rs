//! A mistake in a recipe: the file, the line, the key, what was expected, the nearest valid name.

use super::{contents::RecipeText, spans::Spans};
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

/// A mistake in a recipe; rendered by miette, it points at the very place.
#[derive(Debug)]
pub struct RecipeError(Box<Mistake>);

#[derive(Debug)]
struct Mistake {
    path: PathBuf,
    message: String,
    help: Option<String>,
    text: Option<NamedSource<String>>,
    labels: Vec<(Range<usize>, String)>,
    source: Option<std::io::Error>,
}

impl kiln_core::blame::Blamed for RecipeError {}

impl RecipeError {
    /// A mistake that has no place in the text.
    pub fn new(path: &Path, message: impl Into<String>) -> Self {
        Self(Box::new(Mistake {
            path: path.to_path_buf(),
            message: message.into(),
            help: None,
            text: None,
            labels: Vec::new(),
            source: None,
        }))
    }

    /// A mistake at a key that is written as `stage.0.objective.masked.ratio`. Where the recipe
    /// leaves the key out, it points at the nearest table around it.
    pub fn at(text: &RecipeText, key: &str, message: impl Into<String>) -> Self {
        let span = Spans::new(&text.text).value(key);
        Self::spanned(text, message, vec![(span, String::new())])
    }

    /// A mistake at byte ranges of the text, each with what is to be said there.
    pub(super) fn spanned(
        text: &RecipeText,
        message: impl Into<String>,
        labels: Vec<(Range<usize>, String)>,
    ) -> Self {
        let mut error = Self::new(&text.path, message);
        let name = text.path.display().to_string();
        error.0.text = Some(NamedSource::new(name, text.text.clone()).with_language("TOML"));
        error.0.labels = labels
            .into_iter()
            .map(|(span, label)| {
                let end = span.end.min(text.text.len());
                (span.start.min(end)..end, label)
            })
            .collect();
        error
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds what the system said.
    pub(super) fn with_source(mut self, source: std::io::Error) -> Self {
        self.0.source = Some(source);
        self
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The line, from 1, where the mistake has a place.
    pub fn line(&self) -> Option<usize> {
        let text = self.0.text.as_ref()?.inner();
        let (span, _) = self.0.labels.first()?;
        let before = text.as_bytes().get(..span.start)?;
        Some(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.path.display())?;
        if let Some(line) = self.line() {
            write!(out, ", line {line}")?;
        }
        write!(out, ": {}", self.0.message)
    }
}

impl std::error::Error for RecipeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl Diagnostic for RecipeError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.text.as_ref().map(|text| text as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.0.labels.iter().map(|(span, label)| {
            let label = (!label.is_empty()).then(|| label.clone());
            LabeledSpan::new_with_span(label, span.clone())
        });
        Some(Box::new(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_file_and_line() {
        let text = RecipeText { path: "a/b.toml".into(), text: "name = 'x'\nseed = 3\n".into() };
        let error = RecipeError::at(&text, "seed", "too small").with_help("take 4");
        assert_eq!(error.to_string(), "a/b.toml, line 2: too small");
        assert_eq!(error.help().unwrap().to_string(), "take 4");
        let label = error.labels().unwrap().next().unwrap();
        assert_eq!((label.offset(), label.len()), (18, 1));
    }

    #[test]
    fn a_place_beyond_the_text_is_clamped() {
        let text = RecipeText { path: "a.toml".into(), text: "x".into() };
        let error = RecipeError::spanned(&text, "m", vec![(5..9, "l".into())]);
        assert_eq!(error.line(), Some(1));
    }
}
