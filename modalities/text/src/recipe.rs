//! What a text recipe is made of.

use crate::{
    config::TextModelConfig,
    generate::Generation,
    labelled::{LabelledData, LabelledSource},
    lexicon::Lexicon,
    order::Order,
    packing::{Held, Packing},
    presets::Preset,
    tokenizer::TokenizerSpec,
    transfer::NewTokens,
};
use kiln_datasets::{Documents, labelled::Holdout, stories::Stories};
use kiln_objectives::Objective;
use kiln_train::recipe::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parts of text recipes.
#[derive(Debug, Clone)]
pub struct TextParts;

impl Parts for TextParts {
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

impl TextData {
    /// The data of one source alone.
    pub(crate) fn of_source(&self, source: usize) -> Self {
        let sources = self.sources.get(source).cloned().into_iter().collect();
        Self { sources, weights: Vec::new(), phases: Vec::new(), ..self.clone() }
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
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationKind {
    /// How well a decoder knows what comes next in the text kept for validation: cross-entropy in
    /// nats a token, perplexity, and bits a byte.
    Language(LanguageEvaluation),
    /// Texts that a decoder goes on with, for the report.
    Samples(SampleEvaluation),
    /// How well the model does what `data.labelled` of the last stage asks for, by the measures of
    /// that task, on its test examples.
    Task(TaskEvaluation),
    /// How much of some labels a linear classifier finds in the vectors that the model makes of
    /// texts, beside those of the same model with random weights.
    Probe(ProbeEvaluation),
}

/// A measure of what a model was fine-tuned for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskEvaluation {
    /// Test examples at most.
    pub limit: usize,
    /// How an encoder-decoder writes.
    pub generation: Generation,
}

impl Default for TaskEvaluation {
    fn default() -> Self {
        Self { limit: 10_000, generation: Generation::default() }
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
}

impl Default for LanguageEvaluation {
    fn default() -> Self {
        Self { limit: 1000, source: None }
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
