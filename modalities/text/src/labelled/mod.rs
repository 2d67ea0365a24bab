//! Labelled text: from files to what a model is fine-tuned on.
//!
//! [`LabelledData`] says where it is, [`Row`]s are what the readers give, an [`Encoder`] makes
//! [`Example`](kiln_lm::examples::Example)s of them, and [`Aim`] says which head learns them.

mod aim;
mod chat;
mod control;
mod derived;
mod encode;
pub(crate) mod error;
mod pieces;
mod retrieval;
mod room;
mod words;

pub use aim::Aim;
pub(crate) use chat::with_template;
pub use chat::{ChatError, ChatTemplate};
pub use derived::Shuffled;
pub use encode::Encoder;
pub use error::EncodeError;
pub use pieces::{Piece, Words};

use crate::{
    data_error::StageDataError,
    recipe::{Control, LabelledData, LabelledSource, StoryTask, StoryTaskKind, task_key},
};
use kiln_core::Seed;
use kiln_datasets::{
    DataError,
    labelled::{
        Conversation, ExampleSpec as _, Label, Labelled, Pair, Preference, Question, Tagged,
        Triplet,
    },
};
use kiln_tokenize::TextTokenizer;
use rand::seq::index::sample;
use std::{borrow::Cow, sync::Arc};

/// How many stories a task has that says nothing of their number.
const STORIES: u64 = 2000;

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
            (_, None, label) => encode::grade(label),
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

impl LabelledSource {
    /// Whether its rows may have sequence-to-sequence targets.
    pub fn has_targets(&self) -> bool {
        match self {
            Self::Stories(story) => matches!(
                story.task,
                StoryTaskKind::Translation
                    | StoryTaskKind::Conversations
                    | StoryTaskKind::Paraphrase(_)
            ),
            Self::Texts(_) | Self::Tagged(_) | Self::Questions(_) | Self::Preferences(_) => false,
            _ => true,
        }
    }

    /// All examples.
    ///
    /// # Errors
    /// When files are missing or hold something else.
    pub fn rows(&self, seed: Seed) -> Result<Vec<Row>, StageDataError> {
        fn all<T>(rows: Vec<T>, of: fn(T) -> Row) -> Vec<Row> {
            rows.into_iter().map(of).collect()
        }
        Ok(match self {
            Self::Texts(spec) => all(spec.read()?, Row::Labelled),
            Self::Tagged(spec) => all(spec.read()?, Row::Tagged),
            Self::Questions(spec) => all(spec.read()?.questions, Row::Question),
            Self::Pairs(spec) => all(spec.read()?, Row::Pair),
            Self::Triplets(spec) => all(spec.read()?, Row::Triplet),
            Self::Retrieval(judged) => judged.rows(seed)?,
            Self::Conversations(spec) => all(spec.read()?, Row::Conversation),
            Self::Preferences(spec) => all(spec.read()?, Row::Preference),
            Self::Stories(task) => task.rows(seed)?,
            Self::Derived(task) => task.rows(seed)?,
        })
    }
}

impl StoryTask {
    fn rows(&self, seed: Seed) -> Result<Vec<Row>, DataError> {
        if !self.stories.before.is_empty() {
            let (found, expected) = ("given", "nothing: a task is about stories as they are");
            return Err(DataError::config("before", found, expected));
        }
        let count = self.stories.size.unwrap_or(STORIES);
        let english = || self.stories.source(seed);
        let chinese = || self.stories.chinese(seed);
        let each = |row: &dyn Fn(u64) -> Row| (0..count).map(row).collect();
        Ok(match self.task {
            StoryTaskKind::Class(label) => {
                let source = english()?;
                each(&|index| Row::Labelled(source.document(index).labelled(label)))
            }
            StoryTaskKind::ChineseClass(label) => {
                let source = chinese()?;
                each(&|index| Row::Labelled(source.document(index).labelled(label)))
            }
            StoryTaskKind::Tags => {
                let source = english()?;
                each(&|index| Row::Tagged(source.document(index).tagged()))
            }
            StoryTaskKind::ChineseTags => {
                let source = chinese()?;
                each(&|index| Row::Tagged(source.document(index).tagged()))
            }
            other => {
                let source = english()?;
                each(&|index| match other {
                    StoryTaskKind::Questions => Row::Question(source.question(index)),
                    StoryTaskKind::Similarity => Row::Pair(source.similarity(index)),
                    StoryTaskKind::Paraphrase(negatives) => {
                        Row::Triplet(source.paraphrase(index, negatives))
                    }
                    StoryTaskKind::Translation => Row::Pair(source.translation(index)),
                    StoryTaskKind::Conversations => Row::Conversation(source.conversation(index)),
                    StoryTaskKind::Preferences => Row::Preference(source.preference(index)),
                    _ => Row::Pair(source.entailment(index)),
                })
            }
        })
    }
}

/// The rows of a stage.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// What is trained on.
    pub train: Vec<Row>,
    /// What is validated with.
    pub validation: Vec<Row>,
    /// What finished models are measured on.
    pub test: Vec<Row>,
}

/// A labelled task of a stage: its rows, and what is learned of them.
#[derive(Debug, Clone)]
pub struct LabelledTask<'a> {
    /// What `data.tasks` calls it; nothing where it is `data.labelled`.
    pub name: Option<&'a str>,
    /// Where it is from.
    pub data: &'a LabelledData,
    /// Its rows.
    pub rows: Rows,
    /// What is learned of them.
    pub aim: Aim,
}

impl<'a> LabelledTask<'a> {
    /// Reads the rows of a task; `aim` says what is learned of them.
    ///
    /// # Errors
    /// When they cannot be read, or not be learned from.
    pub fn read(
        name: Option<&'a str>,
        data: &'a LabelledData,
        seed: Seed,
        aim: impl FnOnce(&[Row]) -> Result<Aim, String>,
    ) -> Result<Self, StageDataError> {
        let rows = data.rows(task_seed(name, seed))?;
        let aim = aim(&rows.train);
        let aim = aim.map_err(|problem| StageDataError::Aim(task_key(name), problem))?;
        Ok(Self { name, data, rows, aim })
    }

    /// Whether an encoder-decoder learns to rank with it by generating a word of relevance (monoT5).
    pub fn ranks_in_words(&self) -> bool {
        self.aim == Aim::Seq2Seq && self.rows.train.first().is_some_and(Row::is_query)
    }

    /// What makes its examples.
    pub fn encoder(&self, tokenizer: &Arc<TextTokenizer>) -> Encoder {
        Encoder::new(tokenizer.clone(), self.data.length).of_task(self.name)
    }
}

/// What the rows of a task follow from.
pub(crate) fn task_seed(name: Option<&str>, seed: Seed) -> Seed {
    let seed = seed.part("labelled");
    name.map_or(seed, |name| seed.part(name))
}

impl LabelledData {
    /// The same with the control token of good texts before every text.
    pub(crate) fn all_good(&self) -> Self {
        Self { control: self.control.as_ref().map(Control::all_good), ..self.clone() }
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// When files are missing or hold something else, or nothing would be held out or left.
    pub fn rows(&self, seed: Seed) -> Result<Rows, StageDataError> {
        let all = self.train.rows(seed.part("train"))?;
        let (mut train, validation) = match &self.validation {
            Some(source) => (all, source.rows(seed.part("validation"))?),
            None => self.held.split(all, seed)?,
        };
        if let Some(limit) = self.limit.filter(|limit| *limit < train.len()) {
            let mut rng = seed.part("limit").rng();
            let chosen = sample(&mut rng, train.len(), limit);
            train = chosen.into_iter().map(|index| train[index].clone()).collect();
        }
        let test = match &self.test {
            Some(source) => source.rows(seed.part("test"))?,
            None => validation.clone(),
        };
        Ok(Rows { train, validation, test })
    }
}
