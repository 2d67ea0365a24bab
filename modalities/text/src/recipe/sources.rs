//! Text sources of a recipe: documents, tokenizer, sampling and validation.

use kiln_datasets::Documents;
use kiln_synthetic::stories::Stories;
use kiln_tokenize::{TokenizerSpec, packing::ValidationSplit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The tokenizer of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerSource {
    /// Of a run, a model directory, a hub id, or a `tokenizer.json`.
    Directory(String),
    /// Trained on the sources, of the documents that are trained on and those kept for validation,
    /// where the stage does not start from a model that has one.
    Train(TokenizerSpec),
    /// Trained on the sources also where the model that the stage starts from has one: the model
    /// gets another vocabulary, see `data.new_tokens`.
    Retrain(TokenizerSpec),
}

/// A source of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextSource {
    /// Of files.
    Documents(Documents),
    /// Small English stories that come with Kiln, told by the recipe's seed.
    Stories(Stories),
    /// The same in Chinese.
    ChineseStories(Stories),
    /// What happens in stories as knowledge: `(who, does what, to whom)`, each before the sentence
    /// that tells it, as in ERNIE 3.0, <https://arxiv.org/abs/2107.02137>.
    StoryFacts(Stories),
}

/// A phase of mixture weights, from a step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightPhase {
    /// The first step of the stage that has them.
    pub step: u64,
    /// One for each source.
    pub weights: Vec<f64>,
}

/// Window sampling: which sequences an epoch has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// The text cut into sequences, each once, in an order drawn again each epoch.
    #[default]
    Cut,
    /// Sequences that begin anywhere, drawn without end: for little text, so that each is another.
    Anywhere,
}

/// The validation split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// Documents, drawn by the recipe's seed.
    Documents(ValidationSplit),
    /// The last share of the tokens, 0 to below 1: where there are few documents.
    Tail(f64),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Documents(ValidationSplit::default())
    }
}

/// Initialisation of the embeddings of new tokens, where the vocabulary changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NewTokens {
    /// At random, like those of a new model.
    Random,
    /// Each has the mean of the vectors of what the old tokenizer writes in its place.
    #[default]
    Pieces,
    /// Each has the mean of what the old model's backbone makes of those pieces where they stand
    /// in the texts, as long as a vector of the model is. For encoders.
    Contexts,
}
