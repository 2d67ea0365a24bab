//! What all specs of examples have in common.

use super::rows::Examples;
use crate::Result;

/// Files that hold examples of one kind.
pub trait ExampleSpec {
    /// What a row becomes.
    type Example;

    /// The examples in the order of the files, read as they are asked for.
    ///
    /// # Errors
    /// When a file is missing. A file, line or column that is not what it should be comes as an
    /// item, which names file and line.
    fn stream(&self) -> Result<Examples<'_, Self::Example>>;

    /// All examples.
    ///
    /// # Errors
    /// The first that [`ExampleSpec::stream`] gives, before or as an item.
    fn read(&self) -> Result<Vec<Self::Example>> {
        self.stream()?.collect()
    }
}
