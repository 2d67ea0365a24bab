//! ROUGE-L, Lin 2004, <https://aclanthology.org/W04-1013>: the longest words in common, in order.
//! English numbers agree with the `rouge-score` package without stemming; words of other scripts
//! are kept, and characters of those without spaces are words.

use crate::words::segments;
use serde::{Deserialize, Serialize};

/// ROUGE-L of a text, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// The common words as a share of the hypothesis's.
    pub precision: f64,
    /// The common words as a share of the reference's.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

/// ROUGE-L of a hypothesis; all zero where one side has no words.
pub fn rouge_l(hypothesis: &str, reference: &str) -> RougeScore {
    let [own, other] = [hypothesis, reference].map(|text| segments(text, |_| false));
    let common = longest_subsequence(&own, &other) as f64;
    if common == 0.0 {
        return RougeScore::default();
    }
    let (own, other) = (own.len() as f64, other.len() as f64);
    RougeScore { precision: common / own, recall: common / other, f1: 2.0 * common / (own + other) }
}

fn longest_subsequence(first: &[String], second: &[String]) -> usize {
    let mut above = vec![0_usize; second.len() + 1];
    for a in first {
        let mut diagonal = 0;
        for (place, b) in second.iter().enumerate() {
            let here = above[place + 1];
            above[place + 1] = if a == b { diagonal + 1 } else { here.max(above[place]) };
            diagonal = here;
        }
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    /// Numbers of `rouge-score` 0.1.2.
    #[test]
    fn as_rouge_score() {
        let score = rouge_l("the cat, sat on a mat", "The cat is on the mat.");
        assert!(close(score.f1, 0.6666666666666666));
        assert!(close(rouge_l("the gunman kill police", "police killed the gunman").f1, 0.5));
        assert_eq!(rouge_l("", "a"), RougeScore::default());
    }

    #[test]
    fn chinese() {
        let score = rouge_l("我们去公园", "我们不去大公园");
        assert!(close(score.precision, 1.0) && close(score.recall, 5.0 / 7.0));
    }
}
