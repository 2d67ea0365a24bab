//! Question answering: exact match and F1 (SQuAD, CMRC).
//!
//! - English and other scripts with spaces: SQuAD's script, Rajpurkar et al. 2016,
//!   <https://arxiv.org/abs/1606.05250>.
//! - Chinese and Japanese: CMRC's, Cui et al. 2019, <https://arxiv.org/abs/1810.07366>, whose F1 is
//!   over the longest common run of characters. Words of other scripts inside them are divided at
//!   what is no letter or digit, where CMRC's script asks NLTK.

use crate::words::{is_unspaced, segments};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Exact match and F1 of an answer, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerScore {
    /// 1 where it is one of the accepted answers, but for case, punctuation and articles.
    pub exact: f64,
    /// The harmonic mean of the shares of words, or characters, that it has in common with the most
    /// similar accepted answer.
    pub f1: f64,
}

/// Scores an answer by the accepted ones; without any, the right answer is to say nothing. Scripts
/// without spaces are told by the accepted answers.
pub fn score_answer<T: AsRef<str>>(answer: &str, accepted: &[T]) -> AnswerScore {
    let accepted: Vec<&str> = accepted.iter().map(AsRef::as_ref).collect();
    let accepted = if accepted.is_empty() { vec![""] } else { accepted };
    let unspaced = accepted.iter().any(|text| text.chars().any(is_unspaced));
    let score = if unspaced { by_characters } else { by_words };
    let mut best = AnswerScore::default();
    for reference in accepted {
        let AnswerScore { exact, f1 } = score(answer, reference);
        best = AnswerScore { exact: best.exact.max(exact), f1: best.f1.max(f1) };
    }
    best
}

/// Whether two texts are the same but for white space at their ends and its kind in between.
pub fn exact_match(text: &str, reference: &str) -> bool {
    text.split_whitespace().eq(reference.split_whitespace())
}

/// SQuAD's rules.
fn by_words(answer: &str, reference: &str) -> AnswerScore {
    let [answer, reference] = [answer, reference].map(normalised);
    let equal = f64::from(u8::from(answer == reference));
    if answer.is_empty() || reference.is_empty() {
        return AnswerScore { exact: equal, f1: equal };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &reference {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in &answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    AnswerScore { exact: equal, f1: f1(common, answer.len(), reference.len()) }
}

/// Words in small letters, without ASCII's punctuation and articles.
fn normalised(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // Articles beside a letter or digit are part of a word; `é` is a letter, `–` is none.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut kept = String::new();
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        let rest = piece.get(word.len()..).unwrap_or_default();
        kept.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        kept.push_str(rest);
    }
    kept.split_whitespace().map(str::to_owned).collect()
}

/// What CMRC's script leaves out.
const LEFT_OUT: &str = "-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』";

/// CMRC's rules.
fn by_characters(answer: &str, reference: &str) -> AnswerScore {
    let bare = |text: &str| -> String {
        text.trim().to_lowercase().chars().filter(|c| !LEFT_OUT.contains(*c)).collect()
    };
    let [answer, reference] = [answer, reference].map(bare);
    let equal = f64::from(u8::from(answer == reference));
    let symbol = |c: char| !c.is_whitespace() && !LEFT_OUT.contains(c);
    let [answer, reference] = [answer, reference].map(|text| segments(&text, symbol));
    let common = longest_run(&answer, &reference);
    AnswerScore { exact: equal, f1: f1(common, answer.len(), reference.len()) }
}

fn f1(common: usize, answer: usize, reference: usize) -> f64 {
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (answer + reference) as f64 }
}

/// The length of the longest run of pieces that both have.
fn longest_run(first: &[String], second: &[String]) -> usize {
    let (mut longest, mut above) = (0, vec![0_usize; second.len() + 1]);
    for a in first {
        let mut row = vec![0; second.len() + 1];
        for (place, b) in second.iter().enumerate() {
            if a == b {
                row[place + 1] = above[place] + 1;
                longest = longest.max(row[place + 1]);
            }
        }
        above = row;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    fn scores(answer: &str, accepted: &[&str]) -> (f64, f64) {
        let score = score_answer(answer, accepted);
        (score.exact, score.f1)
    }

    #[test]
    fn english() {
        assert_eq!(scores("The Eiffel-Tower!", &["eiffeltower"]), (1.0, 1.0));
        // `to the river` keeps two words of three: 2 common, 2 * 2 / (2 + 3).
        let (exact, f1) = scores("to the river", &["down to river", "x"]);
        assert!(exact == 0.0 && close(f1, 0.8));
        // A word twice counts once where the reference has it once.
        assert!(close(scores("ha ha", &["ha"]).1, 2.0 / 3.0));
        assert_eq!(scores("theatre", &["atre"]), (0.0, 0.0));
        assert_eq!(normalised("a–b, an é, the"), ["–b", "é"]);
        assert_eq!(scores("", &[]), (1.0, 1.0));
        assert_eq!(scores("something", &[]), (0.0, 0.0));
        assert_eq!(scores("the", &["a"]), (1.0, 1.0));
    }

    #[test]
    fn chinese() {
        assert_eq!(scores("《光荣》和ω-force。", &["光荣和ω-force"]), (1.0, 1.0));
        // 北京大 is the longest run: 2 * 3 / (4 + 5).
        let (exact, f1) = scores("北京大的", &["在北京大学"]);
        assert!(exact == 0.0 && close(f1, 2.0 * 3.0 / 9.0));
        // Runs, not subsequences: 二 and 四 are apart in one of them.
        assert!(close(scores("二四", &["二三四"]).1, 2.0 / 5.0));
        assert_eq!(scores("", &["三"]), (0.0, 0.0));
    }

    #[test]
    fn texts() {
        assert!(exact_match(" a  b\n", "a b"));
        assert!(!exact_match("a b", "ab"));
    }
}
