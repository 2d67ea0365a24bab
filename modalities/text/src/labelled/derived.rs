//! Labels that documents bring by themselves: the order of their sentences, which pieces are of one
//! document, which words stand for it.

use super::row::{Row, Shuffled};
use crate::{
    data_error::StageDataError,
    documents::documents,
    recipe::{Derived, DerivedTask},
};
use kiln_core::{Rng, Seed};
use kiln_datasets::labelled::{Label, Labelled, Pair, Triplet};
use kiln_metrics::words::segments;
use rand::{RngExt as _, seq::SliceRandom as _};
use std::collections::{BTreeMap, HashMap};
use unicode_segmentation::UnicodeSegmentation as _;

impl Derived {
    /// Its rows.
    ///
    /// # Errors
    /// When documents cannot be read.
    pub(super) fn rows(&self, seed: Seed) -> Result<Vec<Row>, StageDataError> {
        let read = documents(&self.source, seed)?.read()?;
        let texts = read.map(|document| Ok(document?.text));
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
            Self::RepresentativeWords(mean) => {
                let [positive, negative] = everywhere.word_sets(text, mean, rng)?;
                let negatives = vec![negative];
                Some(Row::Queries(Triplet { anchor: text.into(), positive, negatives }))
            }
        }
    }
}

/// How often words are seen in all documents.
#[derive(Debug, Default)]
struct Frequencies {
    /// Words in their order, and how many there are up to each.
    words: Vec<(String, u64)>,
    documents: u64,
}

impl Frequencies {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let (mut counts, mut documents) = (BTreeMap::<String, u64>::new(), 0);
        for text in texts {
            documents += 1;
            segments(text, |_| false)
                .into_iter()
                .for_each(|word| *counts.entry(word).or_default() += 1);
        }
        let mut all = 0;
        let words = counts.into_iter().map(|(word, count)| {
            all += count;
            (word, all)
        });
        Self { words: words.collect(), documents }
    }

    fn all(&self) -> u64 {
        self.words.last().map_or(0, |(_, all)| *all)
    }

    /// How often a word is seen.
    fn count(&self, word: &str) -> u64 {
        let found = self.words.binary_search_by(|(known, _)| known.as_str().cmp(word));
        found.map_or(0, |at| {
            let before = at.checked_sub(1).map_or(0, |before| self.words[before].1);
            self.words[at].1 - before
        })
    }

    /// Two sets of as many words, drawn by the language model of a document: that of its words,
    /// with as many of all documents as a document has in the mean put to them (Dirichlet
    /// smoothing). The likelier set comes first. `None` where they are no different.
    fn word_sets(&self, text: &str, mean: usize, rng: &mut Rng) -> Option<[String; 2]> {
        let words = segments(text, |_| false);
        let mut own: HashMap<&str, f64> = HashMap::new();
        words.iter().for_each(|word| *own.entry(word).or_default() += 1.0);
        let size = (1 + poisson(mean.saturating_sub(1) as f64, rng)).min(own.len());
        let (all, length) = (self.all(), words.len() as f64);
        let added = all as f64 / self.documents.max(1) as f64;
        let likelihood = |word: &str| {
            let everywhere = self.count(word) as f64 / all.max(1) as f64;
            let here = own.get(word).copied().unwrap_or(0.0);
            ((here + added * everywhere) / (length + added)).ln()
        };
        let mut draw = || {
            let (mut set, mut likely) = (Vec::with_capacity(size), 0.0);
            while set.len() < size {
                let word = if rng.random_bool(length / (length + added)) {
                    words.get(rng.random_range(0..words.len()))?
                } else {
                    let at = rng.random_range(0..all);
                    &self.words.get(self.words.partition_point(|(_, until)| *until <= at))?.0
                };
                if !set.contains(&word.as_str()) {
                    set.push(word.as_str());
                    likely += likelihood(word);
                }
            }
            Some((likely, set.join(" ")))
        };
        let [(one, first), (other, second)] = [draw()?, draw()?];
        // But for rounding.
        let different = (one - other).abs() > 1e-9;
        different.then_some(if one > other { [first, second] } else { [second, first] })
    }
}

/// A number drawn by Poisson: Knuth's way, for small means.
fn poisson(mean: f64, rng: &mut Rng) -> usize {
    let (mut number, mut left) = (0, rng.random::<f64>());
    while left > (-mean).exp() {
        left *= rng.random::<f64>();
        number += 1;
    }
    number
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
    }

    #[test]
    fn likelier_words_stand_for_a_document() {
        let everywhere = Frequencies::of([TEXT, "the the the one"].into_iter());
        assert_eq!((everywhere.count("the"), everywhere.count("one")), (3, 2));
        assert_eq!((everywhere.count("zebra"), everywhere.all()), (0, 16));
        let likely = |words: &str| {
            // Twelve words of its own, each once, and eight of all: 8 / 16 for each of those.
            let own = |word: &str| f64::from(u8::from(word != "the"));
            let one = |word: &str| (own(word) + 0.5 * everywhere.count(word) as f64) / 20.0;
            words.split(' ').map(one).map(f64::ln).sum::<f64>()
        };
        let mut rng = Seed::new(3).rng();
        let pairs: Vec<[String; 2]> =
            (0..200).filter_map(|_| everywhere.word_sets(TEXT, 3, &mut rng)).collect();
        assert!(pairs.len() > 20);
        for [better, worse] in &pairs {
            assert_eq!(better.split(' ').count(), worse.split(' ').count());
            assert!(likely(better) > likely(worse));
        }
        let sum: usize = (0..2000).map(|_| poisson(2.0, &mut rng)).sum();
        assert!((3700..4300).contains(&sum), "{sum}");
    }
}
