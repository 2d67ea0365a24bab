//! chrF2, Popović 2015, <https://aclanthology.org/W15-3049>, as sacreBLEU computes it: the F2 score
//! of runs of one to six characters without white space, over orders that both sides have.

use super::bleu::grams;

/// The longest run of characters.
const ORDER: usize = 6;

/// Recall counts so much more than precision, squared.
const BETA_SQUARED: f64 = 4.0;

/// Runs of characters of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chrf {
    orders: [Runs; ORDER],
    sentences: u64,
}

/// How many runs of one length there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Runs {
    hypothesis: u64,
    reference: u64,
    common: u64,
}

impl Chrf {
    /// Counts a sentence by the reference that it is most like; without any, it is left out.
    pub fn add<T: AsRef<str>>(&mut self, hypothesis: &str, references: &[T]) {
        let hypothesis = characters(hypothesis);
        let mut best: Option<(f64, [Runs; ORDER])> = None;
        for reference in references {
            let runs = compare(&hypothesis, &characters(reference.as_ref()));
            let score = f_score(&runs);
            if best.is_none_or(|(known, _)| score > known) {
                best = Some((score, runs));
            }
        }
        let Some((_, runs)) = best else { return };
        self.sentences += 1;
        for (sum, runs) in self.orders.iter_mut().zip(runs) {
            sum.hypothesis += runs.hypothesis;
            sum.reference += runs.reference;
            sum.common += runs.common;
        }
    }

    /// chrF2 of the corpus, from 0 to 100; `None` without sentences.
    pub fn score(&self) -> Option<f64> {
        (self.sentences > 0).then(|| f_score(&self.orders))
    }
}

fn characters(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn compare(hypothesis: &[char], reference: &[char]) -> [Runs; ORDER] {
    std::array::from_fn(|order| {
        let (own, other) = (grams(hypothesis, order + 1), grams(reference, order + 1));
        let common = own.iter().map(|(gram, count)| other.get(gram).map_or(0, |c| *c.min(count)));
        Runs {
            common: common.sum(),
            // Orders that the reference is too short for do not count.
            hypothesis: if other.is_empty() { 0 } else { own.values().sum() },
            reference: other.values().sum(),
        }
    })
}

fn f_score(orders: &[Runs; ORDER]) -> f64 {
    let (mut precision, mut recall, mut counted) = (0.0, 0.0, 0.0);
    for runs in orders.iter().filter(|runs| runs.hypothesis > 0 && runs.reference > 0) {
        precision += runs.common as f64 / runs.hypothesis as f64;
        recall += runs.common as f64 / runs.reference as f64;
        counted += 1.0;
    }
    let below = BETA_SQUARED * precision + recall;
    if below > 0.0 {
        100.0 * (1.0 + BETA_SQUARED) * precision * recall / (below * counted)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    fn corpus(sentences: &[(&str, &[&str])]) -> f64 {
        let mut chrf = Chrf::default();
        for (hypothesis, references) in sentences {
            chrf.add(hypothesis, references);
        }
        chrf.score().unwrap()
    }

    /// Numbers of sacreBLEU's `corpus_chrf`.
    #[test]
    fn as_sacrebleu() {
        let cat = "The cat sat on the mat, didn't it? It's 3.5-4 cm.";
        let dog = "A dog barked &quot;loudly&quot; at 10,000 people (and more).";
        let cats = [
            "The cat is sitting on the mat, isn't it? It's 3.5-5 cm.",
            "On the mat sat the cat, didn't it?",
        ];
        let dogs = ["The dogs barked \"loudly\" at 10,000 people.", "A dog barked at people."];
        assert!(close(corpus(&[(cat, &cats), (dog, &dogs)]), 58.86638655136052));
        assert!(close(corpus(&[(cat, &cats[..1]), (dog, &dogs[..1])]), 54.8141303644765));
        let chinese = (
            "今天天气很好，我们去公园。GDP增长3.5%",
            &["今天天气不错，我们去公园吧。GDP增长3.6%"][..],
        );
        assert!(close(corpus(&[chinese]), 51.612509001862016));
        assert!(close(corpus(&[("ab", &["ab"])]), 100.0));
        assert!(close(corpus(&[("ab", &["cd"]), ("x", &["xyz"])]), 10.869565217391305));
    }

    #[test]
    fn nothing() {
        assert_eq!(Chrf::default().score(), None);
        assert_eq!(corpus(&[("", &[""])]), 0.0);
    }
}
