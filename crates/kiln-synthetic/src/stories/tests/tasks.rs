//! Labels of the tasks against the texts.

use super::{source, words};
use crate::stories::{EntityKind, event::Entity as Thing};
use kiln_datasets::labelled::{Label, Role};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

#[test]
fn answers_stand_where_the_question_says() {
    let source = source();
    let (mut unanswerable, mut kinds) = (0, BTreeSet::new());
    for index in 0..2000 {
        let question = source.question(index);
        assert!(question.question.ends_with('?'), "{}", question.question);
        assert!(!question.question.contains("  "), "{}", question.question);
        let Some(answer) = question.answers.first() else {
            unanswerable += 1;
            // What the text says in other words is no question without an answer.
            let asked = &question.question;
            let who = asked.split(' ').nth(2).unwrap().to_owned();
            let too = format!("{who} wanted it too");
            let both = format!("and {who} both wanted");
            let wanted = asked.ends_with("want?")
                && (question.context.contains(&too) || question.context.contains(&both));
            assert!(!wanted && !asked.contains("in the end"), "{question:?}");
            continue;
        };
        let span = answer.span.clone().unwrap();
        assert_eq!(question.context[span.clone()], answer.text);
        let around = (question.context.as_bytes().get(span.end), span.start.checked_sub(1));
        assert!(!around.0.is_some_and(u8::is_ascii_alphabetic), "whole words: {question:?}");
        let first = question.question.split(' ').next().unwrap().to_owned();
        let entities = source.document(index).entities;
        let kind = entities.iter().find(|entity| entity.span == span).map(|entity| entity.kind);
        match first.as_str() {
            "Where" => assert_eq!(kind, Some(EntityKind::Place), "{question:?}"),
            "Whom" => assert_eq!(kind, Some(EntityKind::Person), "{question:?}"),
            "Who" => {
                let somebody = [Some(EntityKind::Person), Some(EntityKind::Animal)];
                assert!(somebody.contains(&kind), "{question:?}");
            }
            "How" => assert!(
                source.lexicon.numbers.iter().any(|n| n.english == answer.text),
                "{question:?}"
            ),
            _ if question.question.contains("colour") => {
                let thing = question.question.trim_start_matches("What colour was the ");
                let thing = thing.trim_end_matches('?');
                let described = format!("{} ", answer.text);
                assert!(question.context[span.start..].starts_with(&described), "{question:?}");
                let boats = &source.lexicon.boats.english;
                assert!(
                    question.context[span.end + 1..].starts_with(thing)
                        || boats.iter().any(|name| name == thing),
                    "{question:?}"
                );
            }
            _ => assert!(kind.is_some(), "{question:?}"),
        }
        kinds.insert(first);
    }
    assert!((300..700).contains(&unanswerable), "{unanswerable} of 2000 unanswerable");
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["How", "What", "Where", "Who", "Whom"]);
}

#[test]
fn similarity_goes_with_the_words_in_common() {
    let source = source();
    let (mut alike, mut unlike) = (Vec::new(), Vec::new());
    for index in 0..1500 {
        let pair = source.similarity(index);
        let Some(Label::Value(value)) = pair.label else { panic!("{pair:?}") };
        assert!((0.0..=5.0).contains(&value));
        let (one, two): (HashSet<&str>, HashSet<&str>) =
            (words(&pair.first).into_iter().collect(), words(&pair.second).into_iter().collect());
        let overlap = one.intersection(&two).count() as f64 / one.union(&two).count() as f64;
        if value == 5.0 {
            // The names of both are the same.
            let names = |words: &HashSet<&str>| -> BTreeSet<String> {
                let girls = &source.lexicon.girls.english;
                words
                    .iter()
                    .filter(|w| girls.contains(&(**w).into()))
                    .map(|w| (*w).into())
                    .collect()
            };
            assert_eq!(names(&one), names(&two), "{pair:?}");
            alike.push(overlap);
        } else if value < 2.0 {
            unlike.push(overlap);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(alike.len() > 150 && unlike.len() > 150, "{} {}", alike.len(), unlike.len());
    assert!(mean(&alike) > 1.6 * mean(&unlike), "{} {}", mean(&alike), mean(&unlike));
}

#[test]
fn what_follows_names_only_what_the_story_names() {
    let source = source();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..1500 {
        let pair = source.entailment(index);
        let Some(Label::Class(label)) = pair.label.clone() else { panic!("{pair:?}") };
        assert!(!pair.second.contains("  ") && pair.second.ends_with('.'), "{}", pair.second);
        if label == "entailment" {
            let story = words(&pair.first).into_iter().collect::<HashSet<_>>();
            for token in source.document(index).tagged().tokens {
                // Names of the statement that the story has are tagged there; others are no names.
                if words(&pair.second).contains(&token.as_str()) {
                    assert!(story.contains(token.as_str()) || token == "s");
                }
            }
            let names = source.lexicon.girls.english.iter().chain(&source.lexicon.boys.english);
            for name in names.filter(|name| words(&pair.second).contains(&name.as_str())) {
                assert!(story.contains(name.as_str()), "{pair:?}");
            }
        } else {
            assert!(!pair.first.contains(&pair.second), "{label}: {pair:?}");
        }
        *counts.entry(label).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 350), "{counts:?}");
}

#[test]
fn equal_facts_are_equal_in_tavi() {
    let source = source();
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut lengths = BTreeSet::new();
    for index in 0..4000 {
        let pair = source.translation(index);
        for sentence in pair.second.split_inclusive('.') {
            let verb = sentence.trim().rsplit(' ').next().unwrap();
            let ending = ["ta.", "te.", "tan.", "ten.", "tar.", "ter."];
            assert!(ending.iter().any(|ending| verb.ends_with(ending)), "{pair:?}");
        }
        let english = pair.first.split(' ').count() as i64;
        lengths.insert(english - pair.second.split(' ').count() as i64);
        // One English text has one translation.
        if let Some(other) = seen.insert(pair.first.clone(), pair.second.clone()) {
            assert_eq!(other, pair.second, "{}", pair.first);
        }
    }
    assert!(lengths.len() > 10, "not word by word: {lengths:?}");
    let translations: HashSet<&String> = seen.values().collect();
    assert!(translations.len() < seen.len(), "some are said in several ways");
}

#[test]
fn paraphrases_keep_the_facts_and_near_ones_do_not() {
    let source = source();
    for index in 0..200 {
        let triplet = source.paraphrase(index, 3);
        assert_ne!(triplet.anchor, triplet.positive);
        assert_eq!(triplet.negatives.len(), 3);
        let names = |text: &str| -> BTreeSet<String> {
            let entities = source.story(index).entities;
            let place = |e: &Thing| match e {
                Thing::Place(spot) => Some(spot.english.clone()),
                Thing::Thing { noun, .. } => Some(noun.word.english.clone()),
                _ => None,
            };
            let all: Vec<String> = entities.iter().filter_map(place).collect();
            all.into_iter().filter(|name| text.contains(name.as_str())).collect()
        };
        let [anchor, positive, near] =
            [&triplet.anchor, &triplet.positive, &triplet.negatives[0]].map(|text| names(text));
        let shared = |other: &BTreeSet<String>| anchor.intersection(other).count();
        assert!(shared(&positive) + 1 >= anchor.len(), "{anchor:?} {positive:?}");
        assert!(shared(&near) < anchor.len(), "{anchor:?} {near:?}");
    }
}

#[test]
fn assistants_are_right() {
    let source = source();
    for index in 0..500 {
        let preference = source.preference(index);
        assert_ne!(preference.chosen, preference.rejected, "{preference:?}");
        let conversation = source.conversation(index);
        for (place, message) in conversation.messages.iter().enumerate() {
            let role = if place % 2 == 0 { Role::User } else { Role::Assistant };
            assert_eq!(message.role, role);
            assert!(!message.content.is_empty());
        }
        let document = source.document(index);
        let people: BTreeSet<&str> = document
            .entities
            .iter()
            .filter(|entity| entity.kind == EntityKind::Person)
            .map(|entity| &document.text[entity.span.clone()])
            .collect();
        let number = ["zero", "one", "two", "three", "four", "five", "six"][people.len()];
        for pair in conversation.messages.chunks_exact(2) {
            if pair[0].content.contains("How many people") {
                let answer = pair[1].content.to_lowercase();
                assert!(answer.starts_with(number), "{answer}: {people:?} in {}", document.text);
            }
            if let Some(begin) = pair[0].content.strip_prefix("Go on with this story: ") {
                assert_eq!(format!("{begin} {}", pair[1].content), document.text);
            }
        }
    }
}

#[test]
fn queries_find_the_stories_that_answer_them() {
    let retrieval = source().retrieval(100, 300, 60);
    assert_eq!((retrieval.documents.len(), retrieval.queries.len()), (300, 60));
    for (place, query) in retrieval.queries.iter().enumerate() {
        let relevant: Vec<_> =
            retrieval.relevance.iter().filter(|judgement| judgement.query == place).collect();
        assert!(!relevant.is_empty());
        for judgement in relevant {
            let story = &retrieval.documents[judgement.document].text;
            // Names in a question are capitalized; its first word is not one.
            for name in words(&query.text).into_iter().skip(1) {
                if name.starts_with(char::is_uppercase) {
                    assert!(story.contains(name), "{} in {story}", query.text);
                }
            }
        }
    }
    let ids: HashSet<&String> =
        retrieval.queries.iter().chain(&retrieval.documents).map(|passage| &passage.id).collect();
    assert_eq!(ids.len(), 360);
}
