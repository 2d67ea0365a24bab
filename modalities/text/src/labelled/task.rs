//! A labelled task of a stage.

use super::{aim::Aim, encode::Encoder, read::Rows, row::Row};
use crate::{
    data_error::StageDataError,
    recipe::{LabelledData, task_key},
};
use kiln_core::Seed;
use kiln_tokenize::TextTokenizer;
use std::sync::Arc;

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
    /// Reads the rows of a task; `aim` decides what is learned of them.
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
