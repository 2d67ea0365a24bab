//! A mistake in a value of a recipe.

/// Something wrong with a value, for the author of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key: `stage.0.objective.masked.ratio`.
    pub key: String,
    /// What is wrong and what was expected: `is 1.5, expected more than 0 and less than 1`.
    pub message: String,
}

impl Problem {
    /// A problem with the value of a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}
