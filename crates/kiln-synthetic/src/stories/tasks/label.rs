//! Classes of stories, and tags of their words.

use crate::stories::{EntityKind, StoryDocument, StorySource};
use kiln_datasets::labelled::{Label, Labelled, Tagged};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Classification target of a story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoryLabel {
    /// Where it happens: one of four.
    #[default]
    Domain,
    /// How it ends: `positive`, `negative` or `neutral`.
    Mood,
    /// What it is about: any of fifteen.
    Topics,
}

impl StoryDocument {
    /// The story with a label.
    pub fn labelled(&self, label: StoryLabel) -> Labelled {
        let label = match label {
            StoryLabel::Domain => Label::Class(self.domain.name().into()),
            StoryLabel::Mood => Label::Class(self.mood.name().into()),
            StoryLabel::Topics => {
                Label::Classes(self.topics.iter().map(|topic| topic.name().to_owned()).collect())
            }
        };
        Labelled { text: self.text.clone(), second: None, label }
    }

    /// The story's tokens with BIO tags: words and punctuation with `PERSON`, `PLACE`, `THING` and
    /// `ANIMAL`; where no spaces part words, characters with `PER` and `LOC`.
    pub fn tagged(&self) -> Tagged {
        let spaced = self.words.is_empty();
        let spans = if spaced { tokens(&self.text) } else { characters(&self.text) };
        let tag = |span: &Range<usize>| {
            let within =
                |e: &&crate::stories::Entity| e.span.start <= span.start && span.end <= e.span.end;
            let Some(entity) = self.entities.iter().find(within) else { return "O".to_owned() };
            let kind = match (entity.kind, spaced) {
                (EntityKind::Person, true) => "PERSON",
                (EntityKind::Place, true) => "PLACE",
                (EntityKind::Thing, true) => "THING",
                (EntityKind::Animal, true) => "ANIMAL",
                (EntityKind::Person, false) => "PER",
                (EntityKind::Place, false) => "LOC",
                (EntityKind::Thing | EntityKind::Animal, false) => return "O".to_owned(),
            };
            let begin = if span.start == entity.span.start { 'B' } else { 'I' };
            format!("{begin}-{kind}")
        };
        let text = |span: &Range<usize>| self.text.get(span.clone()).unwrap_or_default().to_owned();
        Tagged { tokens: spans.iter().map(text).collect(), tags: spans.iter().map(tag).collect() }
    }
}

impl StorySource {
    /// The story at `index` with a label.
    pub fn labelled(&self, index: u64, label: StoryLabel) -> Labelled {
        self.document(index).labelled(label)
    }

    /// The story at `index` with a tag a token.
    pub fn tagged(&self, index: u64) -> Tagged {
        self.document(index).tagged()
    }
}

fn characters(text: &str) -> Vec<Range<usize>> {
    text.char_indices().map(|(begin, c)| begin..begin + c.len_utf8()).collect()
}

/// Words, `'s`, and punctuation one by one.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (begin, letter) in text.char_indices() {
        let end = begin + letter.len_utf8();
        let inside = letter.is_alphanumeric();
        match spans.last_mut() {
            Some(last) if open && inside => last.end = end,
            _ if !letter.is_whitespace() => spans.push(begin..end),
            _ => {}
        }
        open = inside || letter == '\'';
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_punctuation() {
        let text = "\"Oh, where is Tom's hat?\" she asked.";
        let words: Vec<&str> = tokens(text).into_iter().map(|span| &text[span]).collect();
        assert_eq!(
            words,
            ["\"", "Oh", ",", "where", "is", "Tom", "'s", "hat", "?", "\"", "she", "asked", "."]
        );
    }
}
