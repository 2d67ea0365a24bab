//! A modality small enough to write recipes for in tests.

use super::{ModalitySpec, Problem, Recipe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parts of the toy modality.
#[derive(Clone, Debug)]
pub(super) struct Toy;

impl ModalitySpec for Toy {
    type Data = Data;
    type Model = Model;
    type Objective = Objective;
    type Evaluation = Evaluation;

    fn check(recipe: &Recipe<Self>) -> Vec<Problem> {
        if recipe.model.width == 0 {
            vec![Problem::new("model.width", "is 0, expected 1 or more")]
        } else {
            Vec::new()
        }
    }
}

/// Where lines come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Data {
    /// A file.
    Lines(Lines),
    /// Invented.
    Synthetic(Synthetic),
}

/// A file of lines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    /// Where the file is.
    pub path: String,
}

/// Invented lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Synthetic {
    /// How long they are.
    pub length: usize,
}

/// A model.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    /// Numbers a token.
    pub width: usize,
}

/// What is optimised.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Objective {
    /// Hidden tokens.
    Masked(Masked),
}

/// Settings of masking.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Masked {
    /// The share that is hidden.
    pub ratio: f64,
}

impl Default for Masked {
    fn default() -> Self {
        Self { ratio: 0.4 }
    }
}

/// How it is measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Evaluation {
    /// On what.
    pub on: String,
}
