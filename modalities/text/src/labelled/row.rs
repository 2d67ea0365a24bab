//! Labelled rows, as readers give them.

use kiln_datasets::labelled::{
    Conversation, Label, Labelled, Pair, Preference, Question, Tagged, Triplet,
};
use std::borrow::Cow;

/// What a reader gives.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named as what they hold")]
pub enum Row {
    Labelled(Labelled),
    Tagged(Tagged),
    Question(Question),
    Pair(Pair),
    Triplet(Triplet),
    /// A text with a query that it answers and others that it answers less.
    Queries(Triplet),
    Conversation(Conversation),
    Preference(Preference),
    Shuffled(Shuffled),
}

impl Row {
    /// Its texts.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Labelled(row) => {
                std::iter::once(&row.text[..]).chain(row.second.as_deref()).collect()
            }
            Self::Tagged(row) => row.tokens.iter().map(String::as_str).collect(),
            Self::Shuffled(row) => row.segments.iter().map(String::as_str).collect(),
            Self::Question(row) => vec![&row.question, &row.context],
            Self::Pair(row) => vec![&row.first, &row.second],
            Self::Triplet(row) | Self::Queries(row) => [&row.anchor, &row.positive]
                .into_iter()
                .chain(&row.negatives)
                .map(String::as_str)
                .collect(),
            Self::Conversation(row) => {
                row.messages.iter().map(|message| &message.content[..]).collect()
            }
            Self::Preference(row) => row
                .prompt
                .iter()
                .map(|message| &message.content[..])
                .chain([&row.chosen[..], &row.rejected[..]])
                .collect(),
        }
    }
}

impl Row {
    /// A text, its second text where it is a pair, and their label.
    pub fn labelled(&self) -> Option<(&str, Option<&str>, &Label)> {
        match self {
            Self::Labelled(row) => Some((&row.text, row.second.as_deref(), &row.label)),
            Self::Pair(row) => Some((&row.first, Some(&row.second), row.label.as_ref()?)),
            _ => None,
        }
    }

    /// A text, one that belongs to it, and then such as do not.
    pub fn halves(&self) -> Option<(&str, Vec<&str>)> {
        match self {
            Self::Pair(row) => Some((&row.first, vec![&row.second])),
            Self::Triplet(row) | Self::Queries(row) => {
                let others = std::iter::once(&row.positive).chain(&row.negatives);
                Some((&row.anchor, others.map(String::as_str).collect()))
            }
            _ => None,
        }
    }

    /// A query with each of its candidates, the relevant one first.
    pub fn candidates(&self) -> Vec<(&str, &str)> {
        let Some((text, others)) = self.halves() else { return Vec::new() };
        let asks = matches!(self, Self::Queries(_));
        others.into_iter().map(|other| if asks { (other, text) } else { (text, other) }).collect()
    }

    /// Whether it is a query with candidate documents.
    pub fn is_query(&self) -> bool {
        matches!(self, Self::Triplet(_) | Self::Queries(_))
    }

    /// The number that a text is labelled with.
    pub fn grade(&self) -> Option<f64> {
        match self.labelled()? {
            (_, None, label) => grade(label),
            _ => None,
        }
    }

    /// Source and target of a sequence-to-sequence example; the target of a conversation is its last
    /// message.
    pub fn source_and_target(&self) -> Option<(Cow<'_, str>, &str)> {
        match self {
            Self::Pair(row) => Some((Cow::Borrowed(&row.first), &row.second)),
            Self::Conversation(talk) => {
                let (last, before) = talk.messages.split_last()?;
                let read: Vec<&str> = before.iter().map(|one| &one.content[..]).collect();
                Some((Cow::Owned(read.join("\n")), &last.content))
            }
            _ => None,
        }
    }
}

/// Segments of a text in another order than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shuffled {
    /// The segments.
    pub segments: Vec<String>,
    /// The place that each had.
    pub places: Vec<usize>,
}

/// A grade: a number, or a class that is one.
pub(super) fn grade(label: &Label) -> Option<f64> {
    match label {
        Label::Value(value) => Some(*value),
        Label::Class(name) => name.parse().ok(),
        Label::Classes(_) => None,
    }
}
