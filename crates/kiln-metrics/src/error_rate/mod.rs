//! Word and character error rates (WER, CER) of transcripts.

mod align;
mod normalise;

pub use align::{Edit, align};
pub use normalise::{Case, Marks, Normalisation, UnicodeForm};

use crate::{Interval, bootstrap};
use kiln_host::Seed;
use serde::{Deserialize, Serialize};
use std::{fmt, ops::AddAssign};

/// Bootstrap resamples.
const DRAWS: usize = 1000;

/// Edit counts: substitutions, deletions and insertions from references to hypotheses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// Words or characters that are the same.
    pub hits: usize,
    /// Those taken for others.
    pub substitutions: usize,
    /// Those that the hypothesis lacks.
    pub deletions: usize,
    /// Those that only the hypothesis has.
    pub insertions: usize,
}

impl ErrorCount {
    /// Counts the edits of an alignment.
    pub fn of(edits: &[Edit]) -> Self {
        let mut count = Self::default();
        for edit in edits {
            match edit {
                Edit::Hit(..) => count.hits += 1,
                Edit::Substitution(..) => count.substitutions += 1,
                Edit::Deletion(_) => count.deletions += 1,
                Edit::Insertion(_) => count.insertions += 1,
            }
        }
        count
    }

    /// Words or characters of the reference.
    pub fn reference(&self) -> usize {
        self.hits + self.substitutions + self.deletions
    }

    /// Substitutions, deletions and insertions.
    pub fn errors(&self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }

    /// Errors over the reference's length: 1 is 100 %, and more is possible. `None` when the
    /// reference is empty.
    pub fn rate(&self) -> Option<f64> {
        (self.reference() > 0).then(|| self.errors() as f64 / self.reference() as f64)
    }
}

impl AddAssign for ErrorCount {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
    }
}

/// A hypothesis transcript with its reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Utterance {
    /// The reference, normalised.
    pub reference: String,
    /// The hypothesis, normalised.
    pub hypothesis: String,
    /// Errors in words.
    pub words: ErrorCount,
    /// Errors in characters: Unicode's, spaces between words included.
    pub characters: ErrorCount,
}

impl Utterance {
    /// The reference's words and the hypothesis's, aligned; `None` where one has none.
    pub fn pairs(&self) -> Vec<(Option<&str>, Option<&str>)> {
        let (reference, hypothesis) = (words(&self.reference), words(&self.hypothesis));
        let pair = |edit: &Edit| match *edit {
            Edit::Hit(i, j) | Edit::Substitution(i, j) => (Some(reference[i]), Some(hypothesis[j])),
            Edit::Deletion(i) => (Some(reference[i]), None),
            Edit::Insertion(j) => (None, Some(hypothesis[j])),
        };
        align(&reference, &hypothesis).iter().map(pair).collect()
    }
}

/// Corpus error rates (WER, CER): all errors over all words, so that long transcripts weigh more.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorRates {
    /// The normalisation of both sides.
    pub normalisation: Normalisation,
    /// In the order in which they were added.
    pub utterances: Vec<Utterance>,
}

impl ErrorRates {
    /// Nothing counted yet.
    pub fn new(normalisation: Normalisation) -> Self {
        Self { normalisation, utterances: Vec::new() }
    }

    /// Counts one transcript.
    pub fn add(&mut self, reference: &str, hypothesis: &str) -> &Utterance {
        let reference = self.normalisation.apply(reference);
        let hypothesis = self.normalisation.apply(hypothesis);
        let characters = |text: &str| words(text).join(" ").chars().collect::<Vec<_>>();
        let utterance = Utterance {
            words: ErrorCount::of(&align(&words(&reference), &words(&hypothesis))),
            characters: ErrorCount::of(&align(&characters(&reference), &characters(&hypothesis))),
            reference,
            hypothesis,
        };
        let at = self.utterances.len();
        self.utterances.push(utterance);
        &self.utterances[at]
    }

    /// Errors in words.
    pub fn words(&self) -> ErrorCount {
        sum(self.utterances.iter().map(|utterance| utterance.words))
    }

    /// Errors in characters.
    pub fn characters(&self) -> ErrorCount {
        sum(self.utterances.iter().map(|utterance| utterance.characters))
    }

    /// The word error rate.
    pub fn wer(&self) -> Option<f64> {
        self.words().rate()
    }

    /// The character error rate.
    pub fn cer(&self) -> Option<f64> {
        self.characters().rate()
    }

    /// 95 % bootstrap confidence interval of the word error rate; `None` without words. Utterances are taken for independent: those of one speaker are less so.
    pub fn wer_interval(&self, seed: Seed) -> Option<Interval> {
        let counts: Vec<_> = self.utterances.iter().map(|utterance| utterance.words).collect();
        bootstrap(&counts, |drawn| sum(drawn.copied()).rate(), DRAWS, 0.95, seed)
    }
}

impl fmt::Display for ErrorRates {
    /// `WER 25.00 % (1 substituted, 0 deleted, 0 inserted of 4 words), CER … (NFC, lower case, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count, unit) in
            [("WER", self.words(), "words"), (", CER", self.characters(), "characters")]
        {
            match count.rate() {
                Some(rate) => write!(f, "{name} {:.2} %", 100.0 * rate)?,
                None => write!(f, "{name} undefined")?,
            }
            write!(
                f,
                " ({} substituted, {} deleted, {} inserted of {} {unit})",
                count.substitutions,
                count.deletions,
                count.insertions,
                count.reference()
            )?;
        }
        write!(f, "; {}", self.normalisation)
    }
}

fn sum(counts: impl Iterator<Item = ErrorCount>) -> ErrorCount {
    counts.fold(ErrorCount::default(), |mut sum, count| {
        sum += count;
        sum
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(pairs: &[(&str, &str)]) -> ErrorRates {
        let mut rates = ErrorRates::new(Normalisation::default());
        for (reference, hypothesis) in pairs {
            rates.add(reference, hypothesis);
        }
        rates
    }

    #[test]
    fn by_hand() {
        let rates = rates(&[("The cat sat.", "the cat sit"), ("một hai ba", "một ba ba bốn")]);
        let words = ErrorCount { hits: 4, substitutions: 2, deletions: 0, insertions: 1 };
        assert_eq!(rates.words(), words);
        assert_eq!(rates.wer(), Some(0.5));
        // sat, sit: 1 of 11. một hai ba, một ba ba bốn: 2 for hai, ba and 4 more of 10.
        assert_eq!(rates.characters().errors(), 1 + 2 + 4);
        assert_eq!(rates.cer(), Some(7.0 / 21.0));
        assert_eq!(
            rates.to_string(),
            "WER 50.00 % (2 substituted, 0 deleted, 1 inserted of 6 words), \
             CER 33.33 % (2 substituted, 1 deleted, 4 inserted of 21 characters); \
             NFC, lower case, punctuation made spaces, digits kept, white space collapsed"
        );
    }

    #[test]
    fn corpora_weigh_by_length() {
        let rates = rates(&[("a b c d e f g h i", "a b c d e f g h i"), ("j", "k")]);
        assert_eq!(rates.wer(), Some(0.1));
        assert_eq!(rates.utterances[1].words.rate(), Some(1.0));
    }

    #[test]
    fn nothing_to_compare() {
        assert_eq!(rates(&[]).wer(), None);
        assert_eq!(rates(&[]).wer_interval(Seed::new(1)), None);
        let extra = rates(&[("", "a b")]);
        assert_eq!((extra.wer(), extra.words().insertions), (None, 2));
        assert!(extra.to_string().starts_with("WER undefined (0 substituted, 0 deleted, 2"));
        assert_eq!(rates(&[("a", "")]).wer(), Some(1.0));
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same() {
        assert_eq!(rates(&[("Viê\u{323}t", "việt")]).cer(), Some(0.0));
    }

    #[test]
    fn pairs_for_a_report() {
        let rates = rates(&[("a b c", "b x c")]);
        let b = Some("b");
        let pairs = [(Some("a"), None), (b, b), (None, Some("x")), (Some("c"), Some("c"))];
        assert_eq!(rates.utterances[0].pairs(), pairs);
    }

    #[test]
    fn the_interval_holds_the_rate() {
        let pair = |i| ("a b c d", if i % 4 == 0 { "a b" } else { "a b c d" });
        let rates = rates(&(0..40).map(pair).collect::<Vec<_>>());
        let interval = rates.wer_interval(Seed::new(3)).unwrap();
        assert_eq!(rates.wer(), Some(0.125));
        // The standard error is sqrt(0.25 * 0.75 / 40) / 2 = 0.034; 1.96 of it are 0.067.
        assert!((interval.low - 0.058).abs() < 0.015, "{interval:?}");
        assert!((interval.high - 0.192).abs() < 0.015, "{interval:?}");
        assert_eq!(rates.wer_interval(Seed::new(3)), Some(interval));
    }
}
