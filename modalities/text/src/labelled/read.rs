//! Reading labelled rows: from their sources, split for training, validation and test.

use super::row::Row;
use crate::{
    data_error::StageDataError,
    recipe::{Control, LabelledData, LabelledSource, StoryTask, StoryTaskKind},
};
use kiln_core::Seed;
use kiln_datasets::{DataError, labelled::ExampleSpec as _};
use rand::seq::index::sample;

/// Number of stories of a task by default.
const STORIES: u64 = 2000;

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
