//! Counts in published files, where they are on this machine.

use super::*;
use std::{collections::BTreeMap, path::PathBuf};

fn real(name: &str) -> Option<Files> {
    kiln_host::testing::data(name).map(|path: PathBuf| Files::new([path]))
}

/// Counts by `cut`, `sort` and `uniq`.
#[test]
fn real_reviews_and_translations() {
    if let Some(files) = real("text/book_review/train.tsv") {
        let examples = LabelledSpec { files, ..Default::default() }.read().unwrap();
        let labels = Labels::of_labels(examples.iter().map(|example| &example.label));
        assert_eq!(labels.names(), ["0", "1"]);
        let positive = Label::Class("1".into());
        assert_eq!(examples.iter().filter(|e| e.label == positive).count(), 10_000);
        assert_eq!(examples.len(), 20_000);
    }
    if let Some(files) = real("text/news-commentary-v13-en-zh_sampled.txt") {
        let files = Files { header: false, ..files };
        let pairs = PairSpec { files, ..Default::default() }.read().unwrap();
        assert_eq!((pairs.len(), pairs[0].first.as_str()), (1000, "1929 or 1989?"));
    }
}

/// Counts of `B-` by `cut`, `sort` and `uniq`. Every chunk begins with one, but for one in the
/// Spanish file.
#[test]
fn real_entities() {
    let count = |sentences: &[Tagged]| {
        let mut counts = BTreeMap::<String, usize>::new();
        for entity in sentences.iter().flat_map(Tagged::entities) {
            *counts.entry(entity.kind.to_owned()).or_default() += 1;
        }
        counts.into_iter().collect::<Vec<_>>()
    };
    let counts = |pairs: &[(&str, usize)]| {
        pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect::<Vec<_>>()
    };
    if let Some(files) = real("text/conll2002/esp.train") {
        let sentences = TaggedSpec { files, ..Default::default() }.read().unwrap();
        assert_eq!(sentences.len(), 8323);
        assert_eq!(
            count(&sentences),
            counts(&[("LOC", 4914), ("MISC", 2173), ("ORG", 7390), ("PER", 4321)])
        );
    }
    if let Some(files) = real("text/msra_ner/dev.tsv") {
        let rows = TaggedLayout::Rows { tokens: None, tags: None, names: Vec::new() };
        let sentences = TaggedSpec { files, layout: rows, ..Default::default() }.read().unwrap();
        assert_eq!(sentences.len(), 2318);
        assert_eq!(count(&sentences), counts(&[("LOC", 1951), ("ORG", 984), ("PER", 884)]));
    }
}

/// Counts by Python's `str.find` over the same file.
#[test]
fn real_questions() {
    let Some(files) = real("text/cmrc2018/dev.json") else { return };
    let all = QuestionSpec { files }.read().unwrap();
    assert_eq!(all.questions.len(), 3219);
    assert_eq!(all.spans, SpanTally { exact: 9457, repaired: 7, missing: 193 });
    for question in &all.questions {
        for answer in &question.answers {
            let Some(span) = answer.span.clone() else { continue };
            assert_eq!(question.context[span].trim(), answer.text.trim());
        }
    }
}
