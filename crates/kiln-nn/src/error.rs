//! A setting that makes no sense.

use std::fmt::Display;

/// A setting that makes no sense: which, what it is and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {found}; expected {expected}")]
pub struct ConfigError {
    /// The dotted key, from the config that was validated.
    pub key: String,
    /// What it is.
    pub found: String,
    /// What would do.
    pub expected: String,
}

impl ConfigError {
    /// An error about one key.
    pub fn new(key: impl Into<String>, found: impl Display, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.to_string(), expected: expected.into() }
    }

    /// The same error seen from a config that holds this one under `prefix`.
    pub fn within(mut self, prefix: &str) -> Self {
        self.key = format!("{prefix}.{}", self.key);
        self
    }

    /// Checks that a count is at least one.
    ///
    /// # Errors
    /// When it is zero.
    pub fn positive(key: &str, value: usize) -> Result<(), Self> {
        if value == 0 { Err(Self::new(key, 0, "at least 1")) } else { Ok(()) }
    }

    /// Checks that a probability of dropping is in `[0, 1)`.
    ///
    /// # Errors
    /// When it is not.
    pub fn dropout(key: &str, value: f64) -> Result<(), Self> {
        if (0.0..1.0).contains(&value) {
            Ok(())
        } else {
            Err(Self::new(key, value, "at least 0 and below 1"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_key_found_and_expected() {
        let error = ConfigError::new("heads", 3, "a divisor of the width 8").within("transformer");
        assert_eq!(
            error.to_string(),
            "`transformer.heads` is 3; expected a divisor of the width 8"
        );
    }

    #[test]
    fn checks() {
        assert!(ConfigError::positive("layers", 0).is_err());
        assert!(ConfigError::positive("layers", 1).is_ok());
        assert!(ConfigError::dropout("dropout", 1.0).is_err());
        assert!(ConfigError::dropout("dropout", f64::NAN).is_err());
        assert!(ConfigError::dropout("dropout", 0.0).is_ok());
    }
}
