//! Checks of what the generator says of its stories against the stories' own letters.

mod tasks;

use super::{event::Entity as Thing, *};
use kiln_host::Seed;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

fn source() -> StorySource {
    Stories::default().source(Seed::new(1)).unwrap()
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect()
}

#[test]
fn a_story_is_a_function_of_its_index() {
    let (one, two) = (source(), source());
    assert_eq!(one.document(5), two.document(5));
    let texts: HashSet<String> = (0..3000).map(|index| one.document(index).text).collect();
    assert_eq!(texts.len(), 3000, "no two alike");
    let later = Stories { first: 3, ..Stories::default() }.source(Seed::new(1)).unwrap();
    assert_eq!(later.document(2), one.document(5));
    assert_ne!(Stories::default().source(Seed::new(2)).unwrap().document(5), one.document(5));
}

#[test]
fn the_text_is_plain_english() {
    let source = source();
    for index in 0..1500 {
        let document = source.document(index);
        let text = &document.text;
        assert!(text.is_ascii(), "{text}");
        for wrong in ["  ", " .", " ,", "..", "{", "}", "[", "|", " i ", "//", ",,"] {
            assert!(!text.contains(wrong), "`{wrong}` in {text}");
        }
        let count = text.split(' ').count();
        assert!((60..=250).contains(&count), "{count} words: {text}");
        assert_eq!(text.matches('"').count() % 2, 0, "{text}");
        let all = words(text);
        for pair in all.windows(2) {
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']) || pair[1] == "hour";
            match pair[0] {
                "a" | "A" => assert!(!vowel, "{pair:?} in {text}"),
                "an" | "An" => assert!(vowel, "{pair:?} in {text}"),
                _ => {}
            }
        }
        let joined: Vec<&str> = document.sentences.iter().map(|span| &text[span.clone()]).collect();
        assert_eq!(joined.join(" "), *text, "the sentences are the text");
        for sentence in joined {
            let twice = words(sentence).windows(2).any(|pair| pair[0] == pair[1]);
            assert!(!twice, "{sentence}");
            let first = sentence.trim_start_matches('"').chars().next().unwrap();
            assert!(first.is_uppercase(), "{sentence}");
            assert!(sentence.trim_end_matches('"').ends_with(['.', '!', '?']), "{sentence}");
        }
    }
}

#[test]
fn pronouns_have_somebody_to_stand_for() {
    let source = source();
    for index in 0..1000 {
        let document = source.document(index);
        let all = words(&document.text);
        let named = |names: &[String]| {
            document.entities.iter().any(|entity| {
                entity.kind == EntityKind::Person
                    && names.contains(&document.text[entity.span.clone()].to_owned())
            })
        };
        // A robin called Robin is no boy: only persons count.
        for (pronouns, names) in [
            (["she", "She", "her"], &source.lexicon.girls.english),
            (["he", "He", "him"], &source.lexicon.boys.english),
        ] {
            if all.iter().any(|word| pronouns.contains(word)) {
                assert!(named(names), "{pronouns:?} in {}", document.text);
            }
        }
    }
}

#[test]
fn moods_can_be_read_from_the_end() {
    let source = source();
    let mut counts = BTreeMap::new();
    for index in 0..1000 {
        let document = source.document(index);
        let last = &document.text[document.sentences.last().unwrap().clone()];
        let has = |cues: &[&str]| cues.iter().any(|cue| last.contains(cue));
        let read = if has(&["happy", "smile", "sang", "good", "wonderful"]) {
            Mood::Positive
        } else if has(&["sad", "cried", "sighed", "bad"]) {
            Mood::Negative
        } else {
            Mood::Neutral
        };
        assert_eq!(read, document.mood, "{last}");
        *counts.entry(read).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count > 150), "{counts:?}");
}

#[test]
fn every_name_and_noun_is_tagged() {
    let source = source();
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for index in 0..1500 {
        let document = source.document(index);
        let tagged = document.tagged();
        assert_eq!(tagged.tokens.len(), tagged.tags.len());
        for pair in tagged.tags.windows(2) {
            if let Some(inside) = pair[1].strip_prefix("I-") {
                assert!(pair[0].ends_with(inside), "{:?}", tagged.tags);
            }
        }
        let nouns: HashSet<String> = source
            .story(index)
            .entities
            .into_iter()
            .filter_map(|entity| match entity {
                Thing::Animal { species, .. } => Some(species.english),
                Thing::Thing { noun, .. } => Some(noun.word.english),
                Thing::Place(spot) => Some(spot.english),
                _ => None,
            })
            .collect();
        for (token, tag) in tagged.tokens.iter().zip(&tagged.tags) {
            if nouns.contains(token) {
                assert!(tag != "O", "{token} in {}", document.text);
            }
            if token.starts_with(char::is_uppercase) && tag.starts_with("B-") {
                kinds.entry(token.clone()).or_default().insert(tag.clone());
            }
            if tag == "B-PERSON" {
                let lexicon = &source.lexicon;
                let known = |names: &Vec<String>| names.contains(token);
                assert!(known(&lexicon.girls.english) || known(&lexicon.boys.english), "{token}");
            }
        }
    }
    // Names that only the context tells apart.
    assert_eq!(kinds["Rose"].len(), 3, "person, boat and hill: {:?}", kinds["Rose"]);
    assert!(kinds.values().filter(|kinds| kinds.len() > 1).count() >= 8, "{kinds:?}");
}

#[test]
fn chinese_has_no_spaces_and_knows_its_words() {
    let source = Stories::default().chinese(Seed::new(1)).unwrap();
    let mut types = HashSet::new();
    let mut tags = BTreeSet::new();
    for index in 0..1000 {
        let document = source.document(index);
        assert!(!document.text.is_ascii() && !document.text.contains([' ', '{', '[']));
        assert!(document.text.chars().all(|c| !c.is_ascii()), "{}", document.text);
        let joined: String =
            document.words.iter().map(|span| &document.text[span.clone()]).collect();
        assert_eq!(joined, document.text, "the words are the text");
        types.extend(document.words.iter().map(|span| document.text[span.clone()].to_owned()));
        let sentences: String =
            document.sentences.iter().map(|span| &document.text[span.clone()]).collect();
        assert_eq!(sentences, document.text);
        let tagged = document.tagged();
        assert_eq!(tagged.tokens.concat(), document.text, "a token is a character");
        tags.extend(tagged.tags);
        for entity in &document.entities {
            // An entity begins and ends where words do.
            assert!(document.words.iter().any(|word| word.start == entity.span.start));
            assert!(document.words.iter().any(|word| word.end == entity.span.end));
        }
    }
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]);
    eprintln!("{} Chinese words", types.len());
    assert!((300..900).contains(&types.len()), "{}", types.len());
}

/// Bits a word of `test` under an n-gram model of `train` with add-0.01 smoothing, backing off to
/// the shorter history by half.
fn cross_entropy(train: &[Vec<String>], test: &[Vec<String>], order: usize) -> f64 {
    let mut counts: HashMap<&[String], f64> = HashMap::new();
    let mut vocabulary = HashSet::new();
    for story in train {
        for end in 1..=story.len() {
            vocabulary.insert(&story[end - 1]);
            for length in 0..=order.min(end) {
                *counts.entry(&story[end - length..end]).or_default() += 1.0;
            }
        }
    }
    let types = vocabulary.len() as f64 + 1.0;
    let (mut bits, mut total) = (0.0, 0.0);
    for story in test {
        for end in 1..=story.len() {
            let mut probability = 1.0 / types;
            for length in 1..=order.min(end) {
                let gram = counts.get(&story[end - length..end]).copied().unwrap_or(0.0);
                let history = counts.get(&story[end - length..end - 1]).copied().unwrap_or(0.0);
                probability = (gram + 2.0 * probability) / (history + 2.0);
            }
            bits -= probability.log2();
            total += 1.0;
        }
    }
    bits / total
}

#[test]
fn there_is_much_to_learn_and_little_to_remember() {
    let source = source();
    let stories: Vec<Vec<String>> =
        (0..2000).map(|index| source.document(index).tagged().tokens).collect();
    let types: HashSet<&String> = stories.iter().flatten().collect();
    let lengths: Vec<usize> =
        (0..2000).map(|index| source.document(index).text.split(' ').count()).collect();
    let mut grams = HashMap::new();
    for gram in stories.iter().flat_map(|story| story.windows(5)) {
        *grams.entry(gram).or_insert(0usize) += 1;
    }
    let repeated: usize = grams.values().map(|count| count - 1).sum();
    let share = repeated as f64 / grams.values().sum::<usize>() as f64;
    let (train, test) = stories.split_at(1800);
    let entropies = [1, 2, 3, 5].map(|order| cross_entropy(train, test, order));
    eprintln!(
        "{} types, {} to {} words (mean {:.0}), {:.0} % of 5-grams seen before, bits a word of 1-, \
         2-, 3-, 5-gram {entropies:.2?}",
        types.len(),
        lengths.iter().min().unwrap(),
        lengths.iter().max().unwrap(),
        lengths.iter().sum::<usize>() as f64 / 2000.0,
        100.0 * share,
    );
    assert!((700..=1500).contains(&types.len()), "{}", types.len());
    assert!((0.2..0.9).contains(&share), "{share}");
    assert!(entropies[2] + 3.0 < entropies[0] && entropies[2] > 1.0, "{entropies:?}");
}

#[test]
fn domains_differ_in_words_and_events() {
    let text = |domain| {
        let stories = Stories { domains: vec![domain], ..Stories::default() };
        let source = stories.source(Seed::new(1)).unwrap();
        let mut all = HashSet::new();
        for index in 0..400 {
            let document = source.document(index);
            assert_eq!(document.domain, domain);
            assert!(document.topics.iter().all(|topic| domain.topics().contains(topic)));
            all.extend(words(&document.text).into_iter().map(str::to_lowercase));
        }
        all
    };
    let all = Domain::ALL.map(text);
    for (place, one) in all.iter().enumerate() {
        for two in &all[place + 1..] {
            let shared = one.intersection(two).count() as f64 / one.union(two).count() as f64;
            assert!(shared < 0.65, "{shared}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let stories = Stories {
        domains: vec![Domain::School],
        topics: vec![Topic::Fishing],
        ..Stories::default()
    };
    assert_eq!(
        stories.source(Seed::new(1)).unwrap_err().to_string(),
        "`topics` is nothing that happens in `school`, expected at least one of contest, lesson, \
         lending, quarrel, lost, animals"
    );
    assert!(toml::from_str::<Stories>("domain = [\"school\"]").is_err());
    let stories: Stories = toml::from_str("domains = [\"school\"]\ntopics = [\"lost\"]").unwrap();
    let document = stories.source(Seed::new(1)).unwrap().document(0);
    assert_eq!(document.topics, [Topic::Lost]);
}

#[test]
fn names_are_those_of_recipes() {
    fn written(value: impl serde::Serialize) -> String {
        serde_json::to_string(&value).unwrap().replace('"', "")
    }
    assert!(Domain::ALL.iter().all(|domain| domain.name() == written(domain)));
    assert!(Topic::ALL.iter().all(|topic| topic.name() == written(topic)));
    let moods = [Mood::Positive, Mood::Negative, Mood::Neutral];
    assert!(moods.iter().all(|mood| mood.name() == written(mood)));
    let happens = |topic| Domain::ALL.iter().any(|domain| domain.topics().contains(topic));
    assert!(Topic::ALL.iter().all(happens), "every topic happens somewhere");
}

#[test]
fn every_act_can_be_told() {
    let source = source();
    let mut acts = BTreeSet::new();
    for index in 0..1500 {
        acts.extend(source.story(index).events.iter().map(|event| event.act));
    }
    for act in &acts {
        let telling = &source.grammar[act];
        assert!(!telling.english.is_empty() && !telling.chinese.is_empty(), "{act:?}");
    }
    let unused: Vec<_> = source.grammar.keys().filter(|act| !acts.contains(act)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}
