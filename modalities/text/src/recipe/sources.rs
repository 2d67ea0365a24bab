//! Where the texts of a recipe come from, and how they become sequences of ids.

use kiln_datasets::{Documents, stories::Stories};
use kiln_tokenize::{TokenizerSpec, packing::ValidationSplit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    Documents(ValidationSplit),
    /// The last share of the tokens, 0 to below 1: where there are few documents.
    Tail(f64),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Documents(ValidationSplit::default())
    }
}

/// How tokens that the starting model does not know get their vectors.
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
