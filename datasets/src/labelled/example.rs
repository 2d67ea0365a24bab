//! What a row of labelled text becomes.
//!
//! Spans in text are in bytes, on borders of characters, as Rust slices and the `tokenizers` crate
//! count them; spans of tagged tokens are in tokens.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Range};

/// Label of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// One class.
    Class(String),
    /// Any number of classes, none among them.
    Classes(Vec<String>),
    /// A number: a rating, a similarity.
    Value(f64),
}

/// A text, or two, with a label: classification and regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// A second text, where the label is of two: entailment, question and answer.
    pub second: Option<String>,
    /// Its label.
    pub label: Label,
}

/// Token classification example: a sentence with a tag per token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    /// The tokens: words, or characters of a script without spaces.
    pub tokens: Vec<String>,
    /// As many tags: BIO (`B-PER`, `I-PER`, `O`), or plain ones such as parts of speech.
    pub tags: Vec<String>,
}

/// Extractive question answering example: a question about a text, answered by spans of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// A name that tells it from the others.
    pub id: String,
    /// The text that it is about.
    pub context: String,
    /// The question.
    pub question: String,
    /// What is accepted as an answer; empty where the text does not say.
    pub answers: Vec<Answer>,
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Where they stand in the context, in bytes; `None` where they do not stand there.
    pub span: Option<Range<usize>>,
}

/// Text pair: two texts that belong together, or a score of how much they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The one: a sentence, a premise, the source of a translation, a query.
    pub first: String,
    /// The other: a sentence, a hypothesis, a translation, an answer.
    pub second: String,
    /// A similarity or a class; nothing where all pairs are alike, such as translations.
    pub label: Option<Label>,
}

/// Triplet for contrastive learning: an anchor, a positive, and negatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triplet {
    /// The text.
    pub anchor: String,
    /// One that means the same, or answers it.
    pub positive: String,
    /// Those that do not; at least one.
    pub negatives: Vec<String>,
}

/// A query or a document of a [`Retrieval`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// A name that tells it from the others.
    pub id: String,
    /// What it says; a title, where there is one, stands before it.
    pub text: String,
}

/// Relevance judgement (qrel): how well a document answers a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relevance {
    /// The query's index in [`Retrieval::queries`].
    pub query: usize,
    /// The document's index in [`Retrieval::documents`].
    pub document: usize,
    /// 0 is irrelevant; more is better.
    pub grade: u32,
}

/// Retrieval data set: queries, documents and relevance judgements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrieval {
    /// What is looked for.
    pub queries: Vec<Passage>,
    /// What is looked through.
    pub documents: Vec<Passage>,
    /// The judgements, by query; what is not judged is irrelevant.
    pub relevance: Vec<Relevance>,
}

impl Retrieval {
    /// For each query the grades of the documents that are judged.
    pub fn grades(&self) -> Vec<BTreeMap<usize, u32>> {
        let mut grades = vec![BTreeMap::new(); self.queries.len()];
        for Relevance { query, document, grade } in &self.relevance {
            if let Some(grades) = grades.get_mut(*query) {
                grades.insert(*document, *grade);
            }
        }
        grades
    }
}

/// Role of the author of a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// Who asks.
    User,
    /// Who answers: what a model learns to say.
    Assistant,
    /// What a tool returned.
    Tool,
}

/// Message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A conversation, at least one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// In order.
    pub messages: Vec<Message>,
}

/// Preference pair: a prompt with a chosen and a rejected answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// What is answered: the conversation up to there.
    pub prompt: Vec<Message>,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
}
