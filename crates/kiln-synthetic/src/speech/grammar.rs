//! Sentences from templates.
//!
//! A grammar is TOML: `sentences` is a list of templates, a `{slot}` in one stands for any of that
//! slot's phrases, which may have slots of their own.

use kiln_datasets::{
    DataError, Result,
    draw::Draw as _,
    files::{locate, read_text},
};
use kiln_host::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Sentence grammar to draw from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sentences {
    /// One to five English digits.
    Digits,
    /// Short English sentences of a hundred words.
    #[default]
    English,
    /// What doctors and patients say on the telephone, in Vietnamese.
    VietnameseMedical,
    /// A grammar of your own: TOML with `sentences` and `slots`, as the embedded ones.
    File(PathBuf),
}

/// Template grammar: sentences with slots, and the phrases that fill them.
#[derive(Clone, Debug, PartialEq)]
pub struct Grammar {
    sentences: Vec<Phrase>,
    slots: Vec<Vec<Phrase>>,
    /// How often each template is drawn.
    weights: Vec<f64>,
}

/// Pronunciations by word: phones with spaces between.
pub(super) type Pronunciations = BTreeMap<String, String>;

/// A grammar as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sentences: Vec<String>,
    #[serde(default)]
    slots: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    words: Pronunciations,
}

type Phrase = Vec<Part>;

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Word(String),
    /// A place in `slots`.
    Slot(usize),
}

impl Sentences {
    /// Reads the grammar.
    ///
    /// # Errors
    /// When a file is missing, or a template names a slot that is not there or contains itself.
    pub fn grammar(&self) -> Result<Grammar> {
        Ok(self.read()?.0)
    }

    /// The grammar and the pronunciations that come with it.
    pub(super) fn read(&self) -> Result<(Grammar, Pronunciations)> {
        let (name, text) = match self {
            Self::Digits => ("digits.toml", DIGITS),
            Self::English => ("english.toml", ENGLISH),
            Self::VietnameseMedical => ("vietnamese_medical.toml", VIETNAMESE_MEDICAL),
            Self::File(path) => {
                let path = locate(path)?;
                return Grammar::parse(&path, &read_text(&path)?);
            }
        };
        Grammar::parse(Path::new(name), text)
    }
}

const DIGITS: &str = include_str!("../../embedded/speech/digits.toml");
const ENGLISH: &str = include_str!("../../embedded/speech/english.toml");
const VIETNAMESE_MEDICAL: &str = include_str!("../../embedded/speech/vietnamese_medical.toml");

impl Grammar {
    fn parse(path: &Path, text: &str) -> Result<(Self, Pronunciations)> {
        let fail = |line, reason| DataError::Line { path: path.into(), line, reason };
        let file: File = toml::from_str(text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start);
            let line = text.get(..begin).unwrap_or_default().lines().count().max(1);
            fail(line, error.message().to_owned())
        })?;
        let names: Vec<&String> = file.slots.keys().collect();
        let line_of = |needle: &str| {
            text.lines().position(|line| line.contains(needle)).map_or(1, |line| line + 1)
        };
        let phrase = |template: &String| -> Result<Phrase> {
            let part = |word: &str| {
                let Some(slot) = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'))
                else {
                    return Ok(Part::Word(word.to_owned()));
                };
                let place = names.iter().position(|name| *name == slot);
                place
                    .map(Part::Slot)
                    .ok_or_else(|| fail(line_of(template), format!("there is no slot `{slot}`")))
            };
            template.split_whitespace().map(part).collect()
        };
        let phrases =
            |templates: &[String]| templates.iter().map(phrase).collect::<Result<Vec<_>>>();
        let sentences = phrases(&file.sentences)?;
        let slots = file.slots.values().map(|t| phrases(t)).collect::<Result<Vec<_>>>()?;
        if sentences.is_empty() || sentences.iter().any(Vec::is_empty) {
            return Err(fail(line_of("sentences"), "there is no sentence, or an empty one".into()));
        }
        let mut grammar = Self { sentences, slots, weights: Vec::new() };
        for (place, name) in names.iter().enumerate() {
            let definition = || line_of(&format!("{name} ="));
            if grammar.slots[place].is_empty() {
                return Err(fail(definition(), format!("slot `{name}` has no phrase")));
            }
            if grammar.reaches(place, place, &mut BTreeSet::new()) {
                return Err(fail(definition(), format!("slot `{name}` contains itself")));
            }
        }
        // A template with more to say is drawn more often, or the others would soon repeat.
        let weight = |phrase| grammar.variants(phrase).ln_1p();
        grammar.weights = grammar.sentences.iter().map(weight).collect();
        Ok((grammar, file.words))
    }

    /// Whether `to` appears in the phrases of `from`, at any depth.
    fn reaches(&self, from: usize, to: usize, seen: &mut BTreeSet<usize>) -> bool {
        let parts = self.slots.get(from).into_iter().flatten().flatten();
        parts.into_iter().any(|part| match part {
            Part::Word(_) => false,
            Part::Slot(slot) => {
                *slot == to || (seen.insert(*slot) && self.reaches(*slot, to, seen))
            }
        })
    }

    /// How many sentences a phrase stands for.
    fn variants(&self, phrase: &Phrase) -> f64 {
        let part = |part: &Part| match part {
            Part::Word(_) => 1.0,
            Part::Slot(slot) => {
                self.slots.get(*slot).into_iter().flatten().map(|p| self.variants(p)).sum()
            }
        };
        phrase.iter().map(part).product()
    }

    /// A sentence: a template, and for each of its slots a phrase, each as likely as another.
    pub fn sentence(&self, rng: &mut Rng) -> String {
        let mut words = Vec::new();
        if let Some(template) = self.sentences.get(rng.weighted(&self.weights)) {
            self.expand(template, rng, &mut words);
        }
        words.join(" ")
    }

    fn expand<'a>(&'a self, phrase: &'a Phrase, rng: &mut Rng, words: &mut Vec<&'a str>) {
        for part in phrase {
            match part {
                Part::Word(word) => words.push(word),
                Part::Slot(slot) => {
                    let phrases = self.slots.get(*slot).map_or(&[][..], Vec::as_slice);
                    if let Some(phrase) = phrases.get(rng.below(phrases.len())) {
                        self.expand(phrase, rng, words);
                    }
                }
            }
        }
    }

    /// Every word that a sentence may have, sorted.
    pub fn words(&self) -> BTreeSet<&str> {
        let phrases = self.sentences.iter().chain(self.slots.iter().flatten());
        let words = phrases.flatten().filter_map(|part| match part {
            Part::Word(word) => Some(word.as_str()),
            Part::Slot(_) => None,
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;
    use std::collections::HashSet;

    fn distinct(sentences: Sentences, draws: u64) -> usize {
        let grammar = sentences.grammar().unwrap();
        let draw = |n| grammar.sentence(&mut Seed::new(1).at(n).rng());
        (0..draws).map(draw).collect::<HashSet<_>>().len()
    }

    #[test]
    fn there_are_thousands_of_sentences() {
        assert!(distinct(Sentences::VietnameseMedical, 5000) > 4000);
        assert!(distinct(Sentences::English, 5000) > 3000);
        assert!(distinct(Sentences::Digits, 5000) > 3000);
    }

    #[test]
    fn vietnamese_is_lower_case_letters_with_composed_diacritics() {
        let grammar = Sentences::VietnameseMedical.grammar().unwrap();
        let letters = "aàảãáạăằẳẵắặâầẩẫấậbcdđeèẻẽéẹêềểễếệghiìỉĩíịklmnoòỏõóọôồổỗốộơờởỡớợpqrstuùủũúụưừửữứựvxyỳỷỹýỵ";
        for word in grammar.words() {
            assert!(word.chars().all(|c| letters.contains(c)), "{word}");
        }
        assert!(grammar.words().len() > 350, "{}", grammar.words().len());
    }

    #[test]
    fn mistakes_are_named() {
        let message =
            |text: &str| Grammar::parse(Path::new("g.toml"), text).unwrap_err().to_string();
        let text = message("sentences = [\n  \"a {x}\",\n]\n");
        assert_eq!(text, "g.toml: line 2: there is no slot `x`");
        let text = message("sentences = [\"{x}\"]\n[slots]\nx = [\"a {y}\"]\ny = [\"{x}\"]\n");
        assert_eq!(text, "g.toml: line 3: slot `x` contains itself");
        assert_eq!(
            message("sentences = []"),
            "g.toml: line 1: there is no sentence, or an empty one"
        );
        assert!(message("sentences = [\"a\"]\n[slots]\nx = []").contains("slot `x` has no phrase"));
        assert!(message("sentences = [\"a\"]\nphrases = 1").contains("unknown field `phrases`"));
        let missing = Sentences::File("none.toml".into()).grammar().unwrap_err().to_string();
        assert!(missing.contains("none.toml: no such file"), "{missing}");
    }
}
