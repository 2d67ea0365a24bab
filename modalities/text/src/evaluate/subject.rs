//! The model under evaluation.

use crate::recipe::{TextEvaluation, TextSpec};
use kiln_core::{Backend, Seed};
use kiln_lm::TextModel;
use kiln_tokenize::TextTokenizer;
use kiln_train::{recipe::Recipe, results::ResultRow};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The model under evaluation, and its data.
pub(super) struct Subject<'a, B: Backend> {
    pub(super) model: &'a TextModel<B>,
    /// Its directory.
    pub(super) dir: &'a Path,
    pub(super) recipe: &'a Recipe<TextSpec>,
    pub(super) evaluation: &'a TextEvaluation,
    pub(super) tokenizer: &'a Arc<TextTokenizer>,
    pub(super) seed: Seed,
    pub(super) device: &'a B::Device,
}

impl<B: Backend> Subject<'_, B> {
    /// A row of the results table.
    pub(super) fn row(
        &self,
        task: &str,
        split: &str,
        metric: &str,
        value: f64,
        baselines: &[(&str, f64)],
    ) -> ResultRow {
        ResultRow {
            task: task.into(),
            dataset: self.evaluation.name.clone(),
            split: split.into(),
            metric: metric.into(),
            value,
            baselines: baselines
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}
