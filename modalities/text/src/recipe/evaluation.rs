//! Evaluations of a finished model.

use super::labelled::{LabelledSource, RetrievalSource};
use kiln_datasets::labelled::Holdout;
use kiln_lm::generate::Generation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An evaluation of a finished model.
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

/// The kinds of evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationKind {
    /// Language modelling on the validation text. Next tokens of a decoder: cross-entropy in nats a
    /// token, perplexity, and bits per byte. Masked tokens of an encoder: cross-entropy,
    /// pseudo-perplexity and accuracy. Denoised spans of an encoder-decoder: cross-entropy and
    /// perplexity.
    Language(LanguageEvaluation),
    /// Generated text samples of a decoder, for the report.
    Samples(SampleEvaluation),
    /// The labelled tasks of the last stage, by the metrics of each, on their test examples.
    Task(TaskEvaluation),
    /// Probing: how well a linear classifier and k nearest neighbours predict labels from frozen
    /// embeddings, beside those of the same model with random weights.
    Probe(ProbeEvaluation),
    /// Retrieval (nDCG, MRR, recall, MAP): documents ranked by embeddings, or, where the model is a
    /// cross-encoder (`cross-encoder`), the best of BM25 reranked by it.
    Retrieval(RetrievalEvaluation),
}

/// Retrieval evaluation.
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

/// Task evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskEvaluation {
    /// Which of `data.tasks`; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Test examples at most.
    pub limit: usize,
    /// How an encoder-decoder generates.
    pub generation: Generation,
}

impl Default for TaskEvaluation {
    fn default() -> Self {
        Self { task: None, limit: 10_000, generation: Generation::default() }
    }
}

/// Probing of embeddings.
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

/// Language-modelling evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageEvaluation {
    /// Sequences at most.
    pub limit: usize,
    /// The number of the source, from 0, whose text is measured; of all sources if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<usize>,
    /// The share of tokens that is masked for an encoder, above 0 and below 1; the same ones for
    /// each model.
    pub mask_ratio: f64,
}

impl Default for LanguageEvaluation {
    fn default() -> Self {
        Self { limit: 1000, source: None, mask_ratio: 0.15 }
    }
}

/// Text samples for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleEvaluation {
    /// The prompts.
    pub prompts: Vec<String>,
    /// How text is generated.
    pub generation: Generation,
}
