//! Text normalisation of transcripts: Unicode form, case, punctuation, digits and white space.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Text normalisation settings, for training and for scoring.
///
/// Its [`Display`](fmt::Display) names every setting, so that an error rate can be printed beside
/// what it was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Normalisation {
    /// Which Unicode form; applied first and last.
    pub unicode: UnicodeForm,
    /// Upper and lower case.
    pub case: Case,
    /// What becomes of punctuation and symbols. An apostrophe between letters is always kept, as
    /// `'`, unless everything is.
    pub punctuation: Marks,
    /// Punctuation and symbols that stay in any case.
    pub keep: String,
    /// What becomes of digits.
    pub digits: Marks,
    /// Whether runs of white space become one space and those at the ends go.
    pub collapse_whitespace: bool,
}

impl Default for Normalisation {
    fn default() -> Self {
        Self {
            unicode: UnicodeForm::Nfc,
            case: Case::Lower,
            punctuation: Marks::Space,
            keep: String::new(),
            digits: Marks::Keep,
            collapse_whitespace: true,
        }
    }
}

/// A Unicode normalisation form, <https://unicode.org/reports/tr15/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnicodeForm {
    /// Letters with their diacritics in one character where there is one.
    Nfc,
    /// The same, and full-width or ligature forms become ordinary letters.
    Nfkc,
}

/// Upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// As it is.
    Keep,
    /// All lower case.
    Lower,
    /// All upper case.
    Upper,
}

/// What becomes of a kind of character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Marks {
    /// They stay.
    Keep,
    /// They go, and their neighbours meet: `well-known` becomes `wellknown`.
    Remove,
    /// They become spaces: `well-known` becomes `well known`.
    Space,
}

impl Normalisation {
    /// Changes nothing but the Unicode form: NFC.
    pub fn none() -> Self {
        Self {
            unicode: UnicodeForm::Nfc,
            case: Case::Keep,
            punctuation: Marks::Keep,
            keep: String::new(),
            digits: Marks::Keep,
            collapse_whitespace: false,
        }
    }

    /// The normalised text. Applying it twice changes nothing more.
    pub fn apply(&self, text: &str) -> String {
        let text = self.form(text);
        let text = self.form(&match self.case {
            Case::Keep => text,
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
        });
        let mut kept = String::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        let mut before = None;
        while let Some(character) = characters.next() {
            let after = characters.peek().copied();
            self.write(before, character, after, &mut kept);
            // A diacritic that has no composed form belongs to the letter before it.
            if character.general_category_group() != GeneralCategoryGroup::Mark {
                before = Some(character);
            }
        }
        let text = self.form(&kept);
        if !self.collapse_whitespace {
            return text;
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn form(&self, text: &str) -> String {
        match self.unicode {
            UnicodeForm::Nfc => text.nfc().collect(),
            UnicodeForm::Nfkc => text.nfkc().collect(),
        }
    }

    fn write(&self, before: Option<char>, it: char, after: Option<char>, out: &mut String) {
        // What goes itself holds no apostrophe: the second time it would not be there.
        let letter = |c: Option<char>| {
            c.is_some_and(|c| c.is_alphanumeric() && self.becomes(c) == Marks::Keep)
        };
        match self.becomes(it) {
            Marks::Keep => out.push(it),
            _ if is_apostrophe(it) && letter(before) && letter(after) => out.push('\''),
            Marks::Remove => {}
            Marks::Space => out.push(' '),
        }
    }

    /// What becomes of a character wherever it stands.
    fn becomes(&self, it: char) -> Marks {
        match it.general_category_group() {
            _ if self.keep.contains(it) => Marks::Keep,
            GeneralCategoryGroup::Punctuation | GeneralCategoryGroup::Symbol => self.punctuation,
            GeneralCategoryGroup::Number => self.digits,
            _ => Marks::Keep,
        }
    }
}

impl fmt::Display for Normalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.unicode {
            UnicodeForm::Nfc => "NFC",
            UnicodeForm::Nfkc => "NFKC",
        })?;
        f.write_str(match self.case {
            Case::Keep => ", case kept",
            Case::Lower => ", lower case",
            Case::Upper => ", upper case",
        })?;
        write!(f, ", punctuation {}", self.punctuation)?;
        if self.punctuation != Marks::Keep && !self.keep.is_empty() {
            write!(f, " except {}", self.keep)?;
        }
        write!(f, ", digits {}", self.digits)?;
        f.write_str(match self.collapse_whitespace {
            true => ", white space collapsed",
            false => ", white space kept",
        })
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "kept",
            Self::Remove => "removed",
            Self::Space => "made spaces",
        })
    }
}

/// ASCII's and the typographic one. (The modifier letter U+02BC is a letter and stays.)
fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '\u{2019}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defaults() {
        let default = Normalisation::default();
        assert_eq!(default.apply("  Well-known: “DON’T” – 3.5 mg!\n"), "well known don't 3 5 mg");
        assert_eq!(
            default.to_string(),
            "NFC, lower case, punctuation made spaces, digits kept, white space collapsed"
        );
    }

    #[test]
    fn diacritics_are_composed() {
        let decomposed = "Tie\u{302}\u{301}ng Vie\u{323}\u{302}t";
        assert_eq!(Normalisation::default().apply(decomposed), "tiếng việt");
    }

    #[test]
    fn removal_and_exceptions() {
        let options = Normalisation {
            case: Case::Upper,
            punctuation: Marks::Remove,
            keep: "-".into(),
            digits: Marks::Remove,
            ..Normalisation::default()
        };
        assert_eq!(options.apply("well-known, U.S. 'quoted' 42"), "WELL-KNOWN US QUOTED");
        assert!(options.to_string().contains("removed except -, digits removed"));
    }

    #[test]
    fn compatibility_forms() {
        let options = Normalisation { unicode: UnicodeForm::Nfkc, ..Normalisation::none() };
        assert_eq!(options.apply("ﬁve\u{ff21}"), "fiveA");
        assert_eq!(Normalisation::none().apply("ﬁve, A  b"), "ﬁve, A  b");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<Normalisation>(r#"{"casing": "lower"}"#).unwrap_err();
        assert!(error.to_string().contains("casing"), "{error}");
    }

    #[test]
    fn apostrophes_between_letters_that_stay() {
        let options = Normalisation { digits: Marks::Remove, ..Normalisation::default() };
        assert_eq!(options.apply("l’eau d'1 🄰'a"), "l'eau d a");
        // Yoruba: no composed form of the two diacritics.
        assert_eq!(options.apply("ẹ\u{300}'ẹ"), "ẹ\u{300}'ẹ");
    }

    proptest! {
        #[test]
        fn twice_is_once(
            text in "(\\PC|['’ʼ1²aΣ🄰ẹ\u{300}\u{323}\u{94d} -]){0,24}",
            case in 0..3usize,
            nfkc: bool,
            punctuation in 0..3usize,
            digits in 0..3usize,
            keep in "['1-]{0,1}",
            collapse_whitespace: bool,
        ) {
            let marks = [Marks::Keep, Marks::Remove, Marks::Space];
            let options = Normalisation {
                unicode: if nfkc { UnicodeForm::Nfkc } else { UnicodeForm::Nfc },
                case: [Case::Keep, Case::Lower, Case::Upper][case],
                punctuation: marks[punctuation],
                digits: marks[digits],
                keep,
                collapse_whitespace,
            };
            let once = options.apply(&text);
            prop_assert_eq!(options.apply(&once), once);
        }
    }
}
