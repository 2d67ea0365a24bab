//! Text of files, and the numbers in its cells.

use crate::{DataError, Result};
use std::path::Path;

/// The text of a CSV file without a byte-order mark; a few bytes in another encoding (names with
/// accents) are replaced, anything that is not text is refused.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(bytes);
    if let Some(reason) = not_text(&text) {
        return Err(DataError::Format { path: path.into(), reason: reason.into() });
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// Why bytes, read as UTF-8, are not those of a text.
pub(crate) fn not_text(text: &str) -> Option<&'static str> {
    if text.as_bytes().contains(&0) {
        return Some("it contains zero bytes; save text as UTF-8");
    }
    let strange =
        |c: &char| *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace());
    // A table in Latin-1 has a few such bytes, a picture has every tenth.
    let many = text.chars().filter(strange).count() > 8 + text.len() / 50;
    many.then_some("it is not text; save text as UTF-8")
}

/// Reads a number; missing values are `None` inside, anything else `None` outside.
pub(crate) fn number(cell: &str, decimal_comma: bool) -> Option<Option<f64>> {
    const MISSING: [&str; 10] = ["", "na", "nan", "null", "none", "n/a", "#n/a", "-", "?", "."];
    let cell = cell.trim();
    if MISSING.iter().any(|missing| cell.eq_ignore_ascii_case(missing)) {
        return Some(None);
    }
    let parsed = cell.parse::<f64>().ok();
    let parsed = parsed.or_else(|| decimal_comma.then(|| cell.replace(',', ".").parse().ok())?);
    // Rust reads "inf" and "infinity" too: no measured value is infinite.
    parsed.map(|value: f64| value.is_finite().then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_missing() {
        assert_eq!(number(" 1.5 ", false), Some(Some(1.5)));
        assert_eq!(number("1,5", true), Some(Some(1.5)));
        assert_eq!(number("1,5", false), None);
        assert_eq!(number("NA", false), Some(None));
        assert_eq!(number("inf", false), Some(None));
        assert_eq!(number("12a", false), None);
    }
}
