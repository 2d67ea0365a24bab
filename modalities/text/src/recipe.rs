//! What a text recipe is made of.

use crate::{
    config::TextModelConfig,
    generate::Generation,
    labelled::{LabelledData, LabelledSource, RetrievalSource, task_key},
    lexicon::Lexicon,
    order::Order,
    packing::{Held, Packing},
    presets::Preset,
    tokenizer::TokenizerSpec,
    transfer::NewTokens,
};
use kiln_datasets::{Documents, labelled::Holdout, stories::Stories};
use kiln_objectives::Objective;
use kiln_train::recipe::ModalitySpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The parts of text recipes.
#[derive(Debug, Clone)]
pub struct TextParts;

impl ModalitySpec for TextParts {
    type Data = TextData;
    type Model = ModelSpec;
    type Objective = Objective;
    type Evaluation = TextEvaluation;
}

/// A text model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSpec {
    /// A named configuration.
    Preset(Preset),
    /// A run, a model directory or a hub id, with its weights and its tokenizer.
    Directory(String),
    /// Put together from parts. The vocabulary and its special ids are the tokenizer's, whatever
    /// stands here.
    Parts(Box<TextModelConfig>),
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
    /// Easy sequences before hard ones; an order drawn anew each epoch if absent. Wants windows that
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

/// A tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerSource {
    /// Of a run, a model directory, a hub id, or a `tokenizer.json`.
    Directory(String),
    /// Trained on the sources, of the documents that are trained on and those kept for validation,
    /// where the stage does not start from a model that has one.
    Train(TokenizerSpec),
    /// Trained on the sources also where the model that the stage starts from has one: the model gets
    /// another vocabulary, see `data.new_tokens`.
    Retrain(TokenizerSpec),
}

/// Documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextSource {
    /// Of files.
    Documents(Documents),
    /// Small English stories that come with Kiln, told anew by the recipe's seed.
    Stories(Stories),
    /// The same in Chinese.
    ChineseStories(Stories),
    /// What happens in stories as knowledge: `(who, does what, to whom)`, each before the sentence
    /// that tells it, as in ERNIE 3.0, <https://arxiv.org/abs/2107.02137>.
    StoryFacts(Stories),
}

/// Weights of the sources from a step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightPhase {
    /// The first step of the stage that has them.
    pub step: u64,
    /// One for each source.
    pub weights: Vec<f64>,
}

/// Which sequences an epoch has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// The text cut into sequences, each once, in an order drawn anew each epoch.
    #[default]
    Cut,
    /// Sequences that begin anywhere, drawn without end: for little text, so that each is another.
    Anywhere,
}

/// What is kept for validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// Documents, drawn by the recipe's seed.
    Documents(Held),
    /// The last share of the tokens, 0 to below 1: where there are few documents.
    Tail(f64),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Documents(Held::default())
    }
}

/// How a finished model is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEvaluation {
    /// As the table names it.
    pub name: String,
    /// What is measured.
    pub kind: EvaluationKind,
    /// Whether weights of linear layers are held as eight-bit integers meanwhile: what that costs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub int8: bool,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationKind {
    /// How well a model knows the text kept for validation. A decoder, what comes next:
    /// cross-entropy in nats a token, perplexity, and bits a byte. An encoder, tokens that are
    /// hidden: cross-entropy, pseudo-perplexity, and how many it tells right. An encoder-decoder,
    /// spans that are taken out: cross-entropy and perplexity.
    Language(LanguageEvaluation),
    /// Texts that a decoder goes on with, for the report.
    Samples(SampleEvaluation),
    /// How well the model does what the labelled examples of the last stage ask for, by the measures
    /// of each task, on its test examples.
    Task(TaskEvaluation),
    /// How much of some labels a linear classifier, and the nearest neighbours, find in the vectors
    /// that the model makes of texts, beside those of the same model with random weights.
    Probe(ProbeEvaluation),
    /// Whether the documents that answer a query come first, as judged: by the vectors that the
    /// model makes of both, or, where it is a cross-encoder (`reranked`), of the first by BM25 in its
    /// own order.
    Retrieval(RetrievalEvaluation),
}

/// A measure of rankings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrievalEvaluation {
    /// Queries, documents, and which answer which.
    pub source: RetrievalSource,
    /// Tokens of a text at most; as many as the model reads if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Documents of each query, the first by BM25, that a cross-encoder puts in order.
    #[serde(default = "hundred")]
    pub reranked: usize,
}

fn hundred() -> usize {
    100
}

/// A measure of what a model was fine-tuned for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskEvaluation {
    /// Which of `data.tasks`; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Test examples at most.
    pub limit: usize,
    /// How an encoder-decoder writes.
    pub generation: Generation,
}

impl Default for TaskEvaluation {
    fn default() -> Self {
        Self { task: None, limit: 10_000, generation: Generation::default() }
    }
}

/// A measure of the vectors that a model makes of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeEvaluation {
    /// Texts with classes: a classifier is fitted to most, and measured on those held out.
    pub data: LabelledSource,
    /// The part that is held out.
    #[serde(default = "quarter")]
    pub held: Holdout,
    /// Tokens of a text at most.
    #[serde(default = "probed")]
    pub length: usize,
}

fn quarter() -> Holdout {
    Holdout::Share(0.25)
}

fn probed() -> usize {
    128
}

/// A measure of a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageEvaluation {
    /// Sequences at most.
    pub limit: usize,
    /// The number of the source, from 0, whose text is measured; of all sources if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<usize>,
    /// The share of tokens that is hidden from an encoder, above 0 and below 1; the same ones for
    /// each model.
    pub hidden: f64,
}

impl Default for LanguageEvaluation {
    fn default() -> Self {
        Self { limit: 1000, source: None, hidden: 0.15 }
    }
}

/// Texts for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleEvaluation {
    /// What the model goes on with.
    pub prompts: Vec<String>,
    /// How.
    pub generation: Generation,
}
