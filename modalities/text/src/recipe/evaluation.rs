//! What is measured of a finished model.

use super::labelled::{LabelledSource, RetrievalSource};
use crate::generate::Generation;
use kiln_datasets::labelled::Holdout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
