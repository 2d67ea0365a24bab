//! Translation into Tavi, a small language made up for it.
//!
//! Tavi puts the verb last: place, then who acts, who receives, with what, what, verb. It has no
//! articles and no pronouns. Nouns take a case: none for who acts, `-ma/-me` for what, `-ko/-ki` for
//! whom, `-la/-le` for with what, `-sa/-se` for where, `-ru/-ri` for from whom; adjectives follow
//! their noun and take its case. The verb has a past `-ta/-te`, `na-` before it denies, and it ends
//! as its subject is: `-n` a person, `-r` an animal. Vowels of suffixes follow the last vowel of the
//! root: back after a, o, u; front after e, i. Names stay as they are, and take cases too.

use crate::stories::{
    StorySource,
    event::{Act, Entity, Event, Id, Role, Story},
    tell::{Told, is_setting},
};
use kiln_datasets::{draw::Draw as _, labelled::Pair};
use kiln_host::Seed;

/// The name of the language that stories are translated into.
pub const TAVI: &str = "tavi";

impl StorySource {
    /// A passage of one to three sentences in English, and what happens in it in Tavi. What is only
    /// a way of saying it is not translated: equal facts are equal in Tavi.
    pub fn translation(&self, index: u64) -> Pair {
        let story = self.story(index);
        let rng = &mut self.task_rng(index, "translation");
        let told: Vec<Event> =
            story.events.iter().filter(|e| !is_setting(e.act)).map(|e| self.told_of(e)).collect();
        let length = 1 + rng.below(3);
        let begin = rng.below(told.len().saturating_sub(length) + 1);
        let events = told.get(begin..(begin + length).min(told.len())).unwrap_or_default();
        let first = self.passage(&story, events, rng);
        let second = tavi(&story, events, &first);
        Pair { first: first.text, second, label: None }
    }
}

/// The facts of `events` in Tavi, with the adjectives that the English has.
fn tavi(story: &Story, events: &[Event], told: &Told) -> String {
    let sentence = |(place, event): (usize, &Event)| {
        let spans = told.events.iter().zip(&told.sentences).filter(|(at, _)| **at == place);
        let english: Vec<&str> =
            spans.filter_map(|(_, span)| told.text.get(span.clone())).collect();
        clause(story, event, &english.join(" "))
    };
    events.iter().enumerate().map(sentence).collect::<Vec<_>>().join(" ")
}

/// What a noun is to its verb.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Subject,
    Object,
    Receiver,
    Tool,
    Place,
    Source,
}

impl Case {
    /// After a back vowel, after a front one.
    fn suffix(self) -> [&'static str; 2] {
        match self {
            Self::Subject => ["", ""],
            Self::Object => ["ma", "me"],
            Self::Receiver => ["ko", "ki"],
            Self::Tool => ["la", "le"],
            Self::Place => ["sa", "se"],
            Self::Source => ["ru", "ri"],
        }
    }

    /// Where it stands.
    fn order(self) -> usize {
        match self {
            Self::Place => 0,
            Self::Subject => 1,
            Self::Receiver | Self::Source => 2,
            Self::Tool => 3,
            Self::Object => 4,
        }
    }
}

/// The case of a role. Who gives, sees, repairs or sells is the subject even if it is `B`.
fn case(act: Act, role: Role, subject: Role) -> Case {
    use Act::*;
    match role {
        _ if role == subject => Case::Subject,
        Role::P => Case::Place,
        Role::K => Case::Object,
        Role::X if matches!(act, Swap | Offer | Sail) => Case::Tool,
        Role::Y if matches!(act, Repair | Send) => Case::Tool,
        Role::A if act == Send => Case::Object,
        Role::X | Role::Y => Case::Object,
        Role::N if act == Recover => Case::Source,
        Role::N if act == Chase => Case::Object,
        Role::A | Role::B if matches!(act, Buy | Beg) && role == Role::B => Case::Source,
        Role::C => Case::Source,
        Role::A | Role::B | Role::N => Case::Receiver,
    }
}

/// Who does it.
fn subject(event: &Event) -> Role {
    use Act::*;
    let first = match event.act {
        Return | Give | Refuse | Seen | Unseen | Repair | Ruined | Need | Promise | Carry
        | Price | Teach | Sold | Leave => Role::B,
        Take | Escape => Role::N,
        Send => Role::C,
        _ => Role::A,
    };
    if event.get(first).is_some() { first } else { Role::A }
}

/// The verb's root, and whether it is denied.
fn verb(act: Act) -> (Act, bool) {
    use Act::*;
    match act {
        Unseen => (Seen, true),
        Refuse => (Give, true),
        Never => (Find, true),
        Ruined => (Repair, true),
        Nothing => (Catch, true),
        Lack => (Own, true),
        other => (other, false),
    }
}

fn clause(story: &Story, event: &Event, english: &str) -> String {
    let subject = subject(event);
    let mut parts: Vec<(usize, String)> = Vec::new();
    for (role, id) in &event.roles {
        let case = case(event.act, *role, subject);
        parts.push((case.order(), noun(story, *id, case, event.act, english)));
    }
    parts.sort_by_key(|(order, _)| *order);
    let (act, denied) = verb(event.act);
    let stem = root(&format!("to {act:?}"));
    let stem = if denied { format!("na{stem}") } else { stem };
    let person = match event.get(subject).and_then(|id| story.entity(id)) {
        Some(Entity::Person { .. }) => "n",
        Some(Entity::Animal { .. }) => "r",
        _ => "",
    };
    let verb = format!("{}{person}.", inflect(&stem, ["ta", "te"]));
    let mut words: Vec<String> = parts.into_iter().map(|(_, word)| word).collect();
    words.push(verb);
    let text = words.join(" ");
    let mut letters = text.chars();
    letters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn noun(story: &Story, id: Id, case: Case, act: Act, english: &str) -> String {
    let with_case = |word: &str| inflect(word, case.suffix());
    match story.entity(id) {
        Some(Entity::Person { name, .. }) => with_case(&name.english),
        Some(Entity::Animal { species, name, colour }) => {
            let mut words = vec![with_case(&root(&species.english))];
            if english.contains(&format!("{} {}", colour.english, species.english)) {
                words.push(with_case(&root(&colour.english)));
            }
            words.extend(name.as_ref().map(|name| with_case(&name.english)));
            words.join(" ")
        }
        Some(Entity::Thing { noun, adjective, name, .. }) => {
            let mut words = vec![with_case(&root(&noun.word.english))];
            if let Some(adjective) = adjective
                && english.contains(&format!("{} {}", adjective.english, noun.word.english))
            {
                words.push(with_case(&root(&adjective.english)));
            }
            words.extend(name.as_ref().map(|name| with_case(&name.english)));
            words.join(" ")
        }
        Some(Entity::Place(spot)) => with_case(&if spot.named() {
            spot.english.replace(' ', "")
        } else {
            root(&spot.english)
        }),
        Some(Entity::Count { word, .. }) => {
            let what = match act {
                Act::Catch => "fish",
                Act::Pass => "point",
                _ => "coin",
            };
            format!("{} {}", with_case(&root(what)), with_case(&root(&word.english)))
        }
        None => String::new(),
    }
}

/// The root in Tavi of an English word: two or three syllables, by the word alone.
fn root(english: &str) -> String {
    const CONSONANTS: &[u8] = b"ptkbdgmnslrvzh";
    let rng = &mut Seed::new(0).part(TAVI).part(english).rng();
    let vowels: &[u8] = if rng.chance(0.5) { b"aou" } else { b"ei" };
    let mut word = String::new();
    for _ in 0..2 + rng.below(2) {
        for letters in [CONSONANTS, vowels] {
            word.extend(letters.get(rng.below(letters.len())).map(|letter| char::from(*letter)));
        }
    }
    word
}

/// Adds the suffix whose vowel goes with the word's last.
fn inflect(word: &str, [back, front]: [&str; 2]) -> String {
    let vowel = word.chars().rev().find(|letter| "aeiouy".contains(letter.to_ascii_lowercase()));
    let front_vowel = vowel.is_some_and(|vowel| "eiy".contains(vowel.to_ascii_lowercase()));
    format!("{word}{}", if front_vowel { front } else { back })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stories::{
        Domain, Mood, Stories,
        lexicon::{Noun, Spot, Word},
    };
    use std::collections::BTreeSet;

    #[test]
    fn suffixes_follow_the_vowel() {
        assert_eq!(inflect("Tom", ["ma", "me"]), "Tomma");
        assert_eq!(inflect("sile", ["ma", "me"]), "sileme");
        assert_eq!(inflect("Ivy", ["ko", "ki"]), "Ivyki");
    }

    #[test]
    fn the_verb_comes_last_and_adjectives_agree() {
        let source = Stories::default().source(Seed::new(1)).unwrap();
        let word = |english: &str| Word { english: english.into(), ..Word::default() };
        let lamp = Noun { word: word("lamp"), ..Noun::default() };
        let place = |english: &str| Spot {
            english: english.into(),
            preposition: "in".into(),
            chinese: String::new(),
            locative: String::new(),
            scenes: Vec::new(),
        };
        let story = Story {
            domain: Domain::Village,
            topics: Vec::new(),
            mood: Mood::Neutral,
            entities: vec![
                Entity::Person { name: word("Tom"), girl: false, label: None, adult: false },
                Entity::Thing {
                    noun: lamp,
                    adjective: Some(word("red")),
                    coloured: true,
                    name: None,
                },
                Entity::Place(place("barn")),
                Entity::Person { name: word("Ivy"), girl: true, label: None, adult: false },
            ],
            events: Vec::new(),
            plots: Vec::new(),
        };
        let find = Event::new(Act::Find, &[(Role::A, 0), (Role::X, 1), (Role::P, 2)]);
        let [lamp, red, barn, to_find, give] =
            ["lamp", "red", "barn", "to Find", "to Give"].map(root);
        let ma = |word: &str| inflect(word, ["ma", "me"]);
        let sentence = |event: &Event, english: &str| clause(&story, event, english).to_lowercase();
        assert_eq!(
            sentence(&find, "Tom found a red lamp in the barn."),
            format!(
                "{} tom {} {} {}n.",
                inflect(&barn, ["sa", "se"]),
                ma(&lamp),
                ma(&red),
                inflect(&to_find, ["ta", "te"])
            )
        );
        // Ivy gives: she is B. What the English does not say is left out.
        let given = Event::new(Act::Give, &[(Role::A, 0), (Role::B, 3), (Role::X, 1)]);
        assert_eq!(
            sentence(&given, "Ivy gave the lamp to Tom."),
            format!("ivy tomko {} {}n.", ma(&lamp), inflect(&give, ["ta", "te"]))
        );
        let kept = Event { act: Act::Refuse, ..given };
        assert_eq!(
            sentence(&kept, "Ivy kept the lamp."),
            format!("ivy tomko {} na{}n.", ma(&lamp), inflect(&give, ["ta", "te"]))
        );
        assert_eq!(source.translation(3), source.translation(3));
    }

    #[test]
    fn no_two_words_have_one_root() {
        let source = Stories::default().source(Seed::new(1)).unwrap();
        let mut words = BTreeSet::new();
        for index in 0..2000 {
            let story = source.story(index);
            words.extend(story.events.iter().map(|event| format!("to {:?}", verb(event.act).0)));
            words.extend(story.entities.iter().filter_map(|entity| match entity {
                Entity::Animal { species, .. } => Some(species.english.clone()),
                Entity::Thing { noun, .. } => Some(noun.word.english.clone()),
                Entity::Place(spot) => Some(spot.english.clone()),
                Entity::Count { word, .. } => Some(word.english.clone()),
                Entity::Person { .. } => None,
            }));
        }
        let roots: BTreeSet<String> = words.iter().map(|word| root(word)).collect();
        assert!(words.len() > 200, "{}", words.len());
        assert!(words.len() - roots.len() <= 2, "{} words, {} roots", words.len(), roots.len());
    }
}
