//! What cannot be scored.

/// Why something cannot be scored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Two lists that should be equally long are not.
    #[error("{found} {what}, expected {expected}")]
    Length {
        /// What there is too much or too little of.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A class or label outside of the known ones.
    #[error("row {row}: class {class}, expected one below {classes}")]
    Class {
        /// The row, from 0.
        row: usize,
        /// Its class.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// A representation that is not finite.
    #[error("row {row}, feature {feature}: {value}, expected a finite number")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The feature, from 0.
        feature: usize,
        /// What it is.
        value: f32,
    },
    /// Nothing to fit.
    #[error("no {what}, expected at least one")]
    Empty {
        /// What there is none of.
        what: &'static str,
    },
    /// A setting that cannot be.
    #[error("`{key}` is {found}, expected {expected}")]
    Setting {
        /// Which setting.
        key: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// Refuses lists of different lengths.
pub(crate) fn same_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), MetricError> {
    if expected == found { Ok(()) } else { Err(MetricError::Length { what, expected, found }) }
}
