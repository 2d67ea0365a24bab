//! What a text recipe is made of.

mod evaluation;
pub(crate) mod labelled;
mod sources;

pub use evaluation::{
    EvaluationKind, LanguageEvaluation, ProbeEvaluation, RetrievalEvaluation, SampleEvaluation,
    TaskEvaluation, TextEvaluation,
};
pub(crate) use labelled::task_key;
pub use labelled::{
    Control, Derived, DerivedTask, JudgedQueries, LabelledData, LabelledSource, RankingWords,
    RetrievalSource, StoryRetrieval, StoryTask, StoryTaskKind,
};
pub use sources::{NewTokens, TextSource, TokenizerSource, Validation, WeightPhase, Windows};

use crate::{lexicon::Lexicon, order::Order};
use kiln_lm::{config::TextModelConfig, presets::Preset};
use kiln_objectives::Objective;
use kiln_tokenize::Packing;
use kiln_train::{model_spec::ModelSpec, recipe::ModalitySpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The modality of text recipes: `modality = "text"`.
pub(crate) const MODALITY: &str = "text";

/// The parts of text recipes.
#[derive(Debug, Clone)]
pub struct TextSpec;

impl ModalitySpec for TextSpec {
    type Data = TextData;
    type Model = ModelSpec<Preset, TextModelConfig>;
    type Objective = Objective;
    type Evaluation = TextEvaluation;
}

/// Texts to train on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextData {
    /// How text becomes ids; as the model's directory says if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSource>,
    /// How tokens get their vectors that the model lacks which the stage starts from, where the
    /// tokenizer is another than that model's.
    pub new_tokens: NewTokens,
    /// Where documents come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<TextSource>,
    /// Labelled examples, for objectives that learn from them in place of documents; of the latter
    /// a tokenizer may still be trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labelled: Option<LabelledData>,
    /// The same for several tasks, by names: each batch is of one, drawn by `weight`, and each has a
    /// head of its own, <https://arxiv.org/abs/1907.12412>.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, LabelledData>,
    /// How often batches of `sources` are seen beside those of labelled examples, a weight as theirs:
    /// for a mixture with an objective that learns from texts alone. 0 if never.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlabelled: f64,
    /// How often each source is seen beside the others; as often as it is large if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Other weights of the sources, from later steps on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<WeightPhase>,
    /// How they become sequences.
    pub packing: Packing,
    /// Which sequences an epoch has.
    pub windows: Windows,
    /// Easy sequences before hard ones; an order drawn again each epoch if absent. Wants windows that
    /// are `cut`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Words of which masked training hides more than of others, `objective.masked.lexicon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lexicon: Option<Lexicon>,
    /// What is kept for validation.
    pub validation: Validation,
}

fn is_zero(weight: &f64) -> bool {
    *weight == 0.0
}

impl TextData {
    /// The data of one source alone.
    pub(crate) fn of_source(&self, source: usize) -> Self {
        let sources = self.sources.get(source).cloned().into_iter().collect();
        Self { sources, weights: Vec::new(), phases: Vec::new(), ..self.clone() }
    }

    /// Labelled examples by task, each with the name of its task where that has one.
    pub fn tasks(&self) -> impl Iterator<Item = (Option<&str>, &LabelledData)> {
        let named = self.tasks.iter().map(|(name, data)| (Some(&name[..]), data));
        self.labelled.iter().map(|data| (None, data)).chain(named)
    }

    /// Checks that tasks and documents can be mixed.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub(crate) fn check_tasks(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((key.to_owned(), problem));
        let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
        for (name, data) in self.tasks() {
            let key = task_key(name);
            let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            if name.is_some_and(|name| name.is_empty() || !name.chars().all(plain)) {
                return wrong(
                    &key,
                    "is a name with other signs than letters, digits, - and _".into(),
                );
            }
            if let Err((setting, problem)) = data.ranking.validate() {
                return wrong(&format!("{key}.ranking.{setting}"), problem);
            }
            if !is_weight(data.weight) {
                let problem = format!("is {}; expected 0 or more", data.weight);
                return wrong(&format!("{key}.weight"), problem);
            }
        }
        if !is_weight(self.unlabelled) {
            let problem = format!("is {}; expected 0 or more", self.unlabelled);
            return wrong("unlabelled", problem);
        }
        let documents = self.unlabelled > 0.0;
        let begins = self.tasks().any(|(_, data)| data.from == 0 && data.weight > 0.0);
        match (self.tasks().next().is_some(), documents) {
            (false, true) => {
                let problem = "mixes documents with labelled examples; there are none of the latter \
                               (`data.tasks`)";
                wrong("unlabelled", problem.into())
            }
            (true, true) if self.sources.is_empty() => {
                wrong("unlabelled", "mixes in documents, and `data.sources` names none".into())
            }
            (true, false) if !begins => {
                let problem = "has no task that weighs something from the first step on";
                wrong(if self.tasks.is_empty() { "labelled" } else { "tasks" }, problem.into())
            }
            _ => Ok(()),
        }
    }
}
