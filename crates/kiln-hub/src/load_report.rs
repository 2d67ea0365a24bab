//! How weights met a module.

use std::fmt;

/// A tensor whose shape differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// How weights met a module; names are ours, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Taken over.
    pub loaded: Vec<String>,
    /// In the module but not in the weights: left as they were.
    pub missing: Vec<String>,
    /// In the weights but not in the module: not used.
    pub unused: Vec<String>,
    /// In both, with different shapes: left as they were.
    pub mismatched: Vec<Mismatch>,
}

impl LoadReport {
    /// Whether every tensor on either side found its match.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tensors match", self.loaded.len())?;
        for (what, names) in
            [("missing from the file", &self.missing), ("unknown to the model", &self.unused)]
        {
            if !names.is_empty() {
                write!(out, "; {} {what}: {}", names.len(), few(names))?;
            }
        }
        if !self.mismatched.is_empty() {
            let shapes: Vec<String> = self
                .mismatched
                .iter()
                .map(|one| {
                    format!("{} (expected {:?}, found {:?})", one.name, one.expected, one.found)
                })
                .collect();
            write!(out, "; {} of another shape: {}", shapes.len(), few(&shapes))?;
        }
        Ok(())
    }
}

/// The first names of a long list, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|index| format!("n{index}")).collect();
        assert!(few(&names).ends_with("n7 and 2 more"), "{}", few(&names));
    }
}
