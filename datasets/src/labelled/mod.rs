//! Labelled text: what a model is fine-tuned on, and scored by.
//!
//! A spec says where examples are and what their columns mean. All specs read TSV, CSV, JSON lines,
//! JSON lists and Parquet alike ([`Files`]), know the usual names of columns, and name file and line
//! of what they cannot use.
//!
//! | spec | example |
//! | --- | --- |
//! | [`LabelledSpec`] | [`Labelled`]: a text or two, with a class, several, or a number |
//! | [`TaggedSpec`] | [`Tagged`]: a sentence with a tag a token, and its [`entities`] |
//! | [`QuestionSpec`] | [`Question`] about a text, answered by pieces of it |
//! | [`PairSpec`], [`TripletSpec`] | [`Pair`], [`Triplet`]: translations, similar texts |
//! | [`RetrievalSpec`] | [`Retrieval`]: queries, documents and judgements |
//! | [`ConversationSpec`], [`PreferenceSpec`] | [`Conversation`], [`Preference`] |
//!
//! [`Labels`] are names and ids of classes; [`Holdout`] holds a part of the examples out.

mod classification;
mod dialogue;
mod example;
mod files;
mod holdout;
mod labels;
mod pairs;
mod parquet;
mod questions;
mod read;
mod retrieval;
mod rows;
mod spec;
mod tagging;

pub use classification::{LabelKind, LabelledSpec};
pub use dialogue::{ConversationSpec, PreferenceSpec};
pub use example::{
    Answer, Conversation, Label, Labelled, Message, Pair, Passage, Preference, Question, Relevance,
    Retrieval, Role, Tagged, Triplet,
};
pub use files::{Encoding, Files, Format};
pub use holdout::Holdout;
pub use labels::Labels;
pub use pairs::{PairSpec, TripletSpec};
pub use questions::{QuestionSpec, Questions, SpanTally};
pub use retrieval::RetrievalSpec;
pub use rows::Examples;
pub use spec::ExampleSpec;
pub use tagging::{Entity, TagScheme, TaggedLayout, TaggedSpec, entities, to_bio};

#[cfg(test)]
mod real_files;
#[cfg(test)]
mod tests;
