//! Labels that documents bring by themselves: the order of their sentences, which pieces are of one
//! document, which words stand for it.

use super::Row;
use crate::{
    metrics::segments,
    recipe::TextSource,
    sources::{self, StageDataError},
};
use kiln_core::{Rng, Seed};
use kiln_datasets::labelled::{Label, Labelled, Pair, Triplet};
use rand::{RngExt as _, seq::SliceRandom as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation as _;

/// A task that is made of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Which.
    pub task: DerivedTask,
    /// Where the documents come from.
    pub source: TextSource,
    /// Examples that are made of a document, each at another place of it.
    #[serde(default = "one")]
    pub each: usize,
}

fn one() -> usize {
    1
}

/// Tasks that are made of documents. Texts with too few sentences are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DerivedTask {
    /// Two runs of so many sentences, one after the other in the document: `ordered` or `swapped`,
    /// as in ALBERT, <https://arxiv.org/abs/1909.11942>.
    SentenceOrder(usize),
    /// So many sentences at most, in any order: each points to the place that it had,
    /// <https://arxiv.org/abs/2406.04156>.
    SegmentOrder(usize),
    /// Two runs of so many sentences: the second is the `next` of the document, or of `another`, as
    /// in BERT, <https://arxiv.org/abs/1810.04805>.
    NextSentence(usize),
    /// Two runs of so many sentences: `adjacent` in a document, elsewhere in the `same`, or of
    /// `another`, as in ERNIE 2.0, <https://arxiv.org/abs/1907.12412>.
    SentenceDistance(usize),
    /// Two runs of so many sentences from anywhere in the document: a pair,
    /// <https://arxiv.org/abs/2112.09118>.
    Crops(usize),
    /// A sentence and what stands around it: a pair, <https://arxiv.org/abs/1906.00300>.
    InverseCloze,
    /// A document, so many of its words that stand for it, and as many that do so less:
    /// <https://arxiv.org/abs/2010.10137>. Words are drawn by how often the document has them beside
    /// all others, and the likelier draw stands for it more.
    RepresentativeWords(usize),
}

impl Derived {
    /// Its rows.
    ///
    /// # Errors
    /// When documents cannot be read.
    pub(super) fn rows(&self, seed: Seed) -> Result<Vec<Row>, StageDataError> {
        let documents = sources::documents(&self.source, seed)?.read()?;
        let texts = documents.map(|document| Ok(document?.text));
        let texts = texts.collect::<Result<Vec<String>, StageDataError>>()?;
        let everywhere = match self.task {
            DerivedTask::RepresentativeWords(_) => {
                Frequencies::of(texts.iter().map(String::as_str))
            }
            _ => Frequencies::default(),
        };
        let mut rng = seed.part("derived").rng();
        let mut rows = Vec::new();
        let documents: Vec<Vec<&str>> = texts.iter().map(|text| sentences(text)).collect();
        for (at, text) in texts.iter().enumerate() {
            for _ in 0..self.each {
                rows.extend(self.task.row(text, &documents, at, &everywhere, &mut rng));
            }
        }
        Ok(rows)
    }
}

fn sentences(text: &str) -> Vec<&str> {
    text.unicode_sentences().map(str::trim).filter(|one| !one.is_empty()).collect()
}

/// So many sentences of a document from a place on.
fn run(sentences: &[&str], from: usize, count: usize) -> Option<String> {
    Some(sentences.get(from..from + count)?.join(" "))
}

/// Where so many sentences of a document may begin; `None` where it has fewer.
fn start(sentences: &[&str], count: usize, rng: &mut Rng) -> Option<usize> {
    let last = sentences.len().checked_sub(count.max(1))?;
    Some(rng.random_range(0..=last))
}

/// So many sentences of another document than that one; `None` where a few tries find none.
fn elsewhere(documents: &[Vec<&str>], own: usize, count: usize, rng: &mut Rng) -> Option<String> {
    (0..8).find_map(|_| {
        let other = rng.random_range(0..documents.len());
        let from = start(&documents[other], count, rng).filter(|_| other != own)?;
        run(&documents[other], from, count)
    })
}

fn classed(text: String, second: String, class: &str) -> Row {
    Row::Labelled(Labelled { text, second: Some(second), label: Label::Class(class.into()) })
}

impl DerivedTask {
    fn row(
        self,
        text: &str,
        documents: &[Vec<&str>],
        at: usize,
        everywhere: &Frequencies,
        rng: &mut Rng,
    ) -> Option<Row> {
        let sentences = &documents[at][..];
        let run = |from: usize, count: usize| run(sentences, from, count);
        let start = |rng: &mut Rng, count: usize| start(sentences, count, rng);
        let pair = |first, second| Row::Pair(Pair { first, second, label: None });
        match self {
            Self::SentenceOrder(count) => {
                let from = start(rng, 2 * count)?;
                let (first, second) = (run(from, count)?, run(from + count, count)?);
                Some(if rng.random() {
                    classed(second, first, "swapped")
                } else {
                    classed(first, second, "ordered")
                })
            }
            Self::NextSentence(count) => {
                let from = start(rng, 2 * count)?;
                let (first, next) = (run(from, count)?, run(from + count, count)?);
                if rng.random() {
                    return Some(classed(first, next, "next"));
                }
                Some(classed(first, elsewhere(documents, at, count, rng)?, "another"))
            }
            Self::SentenceDistance(count) => {
                // Documents of which two runs need not be adjacent.
                let from = start(rng, 2 * count + 1)?;
                let first = run(from, count)?;
                Some(match rng.random_range(0..3) {
                    0 => classed(first, run(from + count, count)?, "adjacent"),
                    1 => {
                        let far = rng.random_range(from + count + 1..=sentences.len() - count);
                        classed(first, run(far, count)?, "same")
                    }
                    _ => classed(first, elsewhere(documents, at, count, rng)?, "another"),
                })
            }
            Self::SegmentOrder(count) => {
                let count = count.min(sentences.len());
                let from = start(rng, count)?;
                let mut places: Vec<usize> = (0..count).collect();
                places.shuffle(rng);
                let segments = places.iter().map(|place| sentences[from + place].to_owned());
                let segments: Vec<String> = segments.collect();
                (count > 1).then_some(Row::Shuffled(Shuffled { segments, places }))
            }
            Self::Crops(count) => {
                let (one, other) = (start(rng, count)?, start(rng, count)?);
                Some(pair(run(one, count)?, run(other, count)?))
            }
            Self::InverseCloze => {
                let at = start(rng, 2)?;
                let around = [&sentences[..at], &sentences[at + 1..]].concat();
                Some(pair(sentences[at].to_owned(), around.join(" ")))
            }
            Self::RepresentativeWords(count) => {
                let mut draws = [0, 1].map(|_| everywhere.draw(text, count, rng));
                draws.sort_by(|a, b| b.1.total_cmp(&a.1));
                let [(positive, _), (negative, _)] = draws;
                let drawn = !positive.is_empty() && positive != negative;
                let negatives = vec![negative];
                drawn.then(|| Row::Triplet(Triplet { anchor: text.into(), positive, negatives }))
            }
        }
    }
}

/// Segments of a text in another order than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shuffled {
    /// The segments.
    pub segments: Vec<String>,
    /// The place that each had.
    pub places: Vec<usize>,
}

/// How often words are seen in all documents.
#[derive(Debug, Default)]
struct Frequencies {
    words: HashMap<String, f64>,
    all: f64,
}

impl Frequencies {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        for word in texts.flat_map(|text| segments(text, |_| false)) {
            *found.words.entry(word).or_default() += 1.0;
            found.all += 1.0;
        }
        found
    }

    /// So many words of a text, and their mean log-likelihood by it: drawn by how often it has them,
    /// where that is not just how often all have them.
    fn draw(&self, text: &str, count: usize, rng: &mut Rng) -> (String, f64) {
        let words = segments(text, |_| false);
        if words.is_empty() {
            return (String::new(), 0.0);
        }
        let mut own: HashMap<&str, f64> = HashMap::new();
        words.iter().for_each(|word| *own.entry(word).or_default() += 1.0);
        let share = |word: &str| {
            let here = own.get(word).copied().unwrap_or(0.0) / words.len() as f64;
            let there = self.words.get(word).copied().unwrap_or(0.0) / self.all.max(1.0);
            here / (here + there).max(1e-12) * here
        };
        let mut drawn = Vec::with_capacity(count);
        let mut likelihood = 0.0;
        for _ in 0..count.max(1) {
            let word = &words[rng.random_range(0..words.len())];
            likelihood += share(word).max(1e-12).ln();
            drawn.push(word.as_str());
        }
        (drawn.join(" "), likelihood / count.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "One fox ran. Two owls slept. Three bees sang. Four cats sat.";

    const OTHER: &str = "A boat came. A bell rang. Ice broke. Fog rose. Rain fell.";

    fn rows(task: DerivedTask) -> Vec<Row> {
        let documents = [sentences(OTHER), sentences(TEXT)];
        let everywhere = Frequencies::of([TEXT, "the the the one"].into_iter());
        let mut rng = Seed::new(3).rng();
        (0..20).filter_map(|_| task.row(TEXT, &documents, 1, &everywhere, &mut rng)).collect()
    }

    #[test]
    fn distances_are_as_their_classes_say() {
        let sentence = |text: &str| sentences(TEXT).iter().position(|one| *one == text);
        let mut seen: Vec<String> = Vec::new();
        for task in [DerivedTask::SentenceDistance(1), DerivedTask::NextSentence(1)] {
            let rows = rows(task);
            assert_eq!(rows.len(), 20);
            for row in rows {
                let Row::Labelled(Labelled { text, second, label: Label::Class(class) }) = row
                else {
                    panic!("two texts with a class")
                };
                let (first, second) = (sentence(&text).unwrap(), sentence(&second.unwrap()));
                match (&class[..], second) {
                    ("adjacent" | "next", Some(second)) => assert_eq!(second, first + 1),
                    ("same", Some(second)) => assert!(second > first + 1),
                    ("another", None) => {}
                    other => panic!("{other:?} after {first}"),
                }
                seen.push(class);
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["adjacent", "another", "next", "same"]);
        assert!(rows(DerivedTask::SentenceDistance(2)).is_empty(), "five are needed");
    }

    #[test]
    fn order_can_be_restored() {
        let place = |text: &str| TEXT.find(text).unwrap();
        for row in rows(DerivedTask::SentenceOrder(1)) {
            let Row::Labelled(row) = row else { panic!("a text with a class") };
            let rising = place(&row.text) < place(&row.second.unwrap());
            let expected = if rising { "ordered" } else { "swapped" };
            assert_eq!(row.label, Label::Class(expected.into()));
        }
        for most in [3, 9] {
            for row in rows(DerivedTask::SegmentOrder(most)) {
                let Row::Shuffled(row) = row else { panic!("segments") };
                let found = row.segments.iter().map(|text| place(text));
                let mut places: Vec<(usize, usize)> =
                    row.places.iter().copied().zip(found).collect();
                assert_eq!(places.len(), most.min(4));
                places.sort_unstable();
                assert!(places.iter().map(|(_, place)| place).is_sorted());
            }
        }
        assert!(rows(DerivedTask::SegmentOrder(1)).is_empty());
    }

    #[test]
    fn pairs_are_of_one_document() {
        for row in rows(DerivedTask::InverseCloze) {
            let Row::Pair(pair) = row else { panic!("a pair") };
            assert!(TEXT.contains(&pair.first) && !pair.second.contains(&pair.first));
        }
        assert_eq!(rows(DerivedTask::Crops(2)).len(), 20);
        for row in rows(DerivedTask::RepresentativeWords(2)) {
            let Row::Triplet(row) = row else { panic!("a triplet") };
            assert_eq!(row.positive.split(' ').count(), 2);
        }
    }
}
