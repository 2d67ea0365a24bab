//! Words with times.

use serde::{Deserialize, Serialize};

/// One word of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// As written.
    pub text: String,
    /// When it starts, in s from the start of the recording.
    pub start: f64,
    /// When it ends, in s.
    pub end: f64,
    /// The geometric mean of its tokens' posterior probabilities, 0 to 1.
    pub confidence: f32,
}

/// An alternative hypothesis of the whole recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its words, with spaces between them.
    pub text: String,
    /// Natural logarithm, weighted language model included; greater is better.
    pub score: f64,
}

/// The transcript of one recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// In the order of time.
    pub words: Vec<Word>,
    /// Alternative hypotheses, best first; empty where none were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
}

impl Transcript {
    /// The words with spaces between them.
    pub fn text(&self) -> String {
        join(&self.words)
    }

    /// Appends the transcript of what follows in the same recording, `offset` s after its start.
    ///
    /// Alternatives are hypotheses of a whole recording, so those of both parts are dropped.
    pub fn append(&mut self, later: Self, offset: f64) {
        self.alternatives.clear();
        self.words.extend(later.words.into_iter().map(|word| Word {
            start: word.start + offset,
            end: word.end + offset,
            ..word
        }));
    }
}

/// The words with spaces between them.
pub(super) fn join(words: &[Word]) -> String {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    texts.join(" ")
}

#[cfg(test)]
pub(super) fn word(text: &str, start: f64, end: f64) -> Word {
    Word { text: text.into(), start, end, confidence: 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_are_moved_in_time() {
        let mut whole = Transcript { words: vec![word("xin", 0.5, 0.75)], alternatives: vec![] };
        let later = Transcript { words: vec![word("chào", 0.25, 0.5)], alternatives: vec![] };
        whole.append(later, 10.0);
        assert_eq!(whole.text(), "xin chào");
        assert_eq!((whole.words[1].start, whole.words[1].end), (10.25, 10.5));
    }
}
