//! Tells events in sentences: who was named before decides between names, nouns and pronouns.

use super::{
    event::{Act, Entity, Id, Story},
    template::Grammar,
};
use kiln_host::Rng;
use std::{collections::BTreeSet, ops::Range};

/// What a story is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    English,
    Chinese,
}

/// A piece of text that may refer to somebody or something.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub text: String,
    /// Who or what it names. Pronouns, articles and adjectives name nothing.
    pub names: Option<Id>,
}

impl Said {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), names: None }
    }

    pub fn naming(text: impl Into<String>, id: Id) -> Self {
        Self { text: text.into(), names: Some(id) }
    }
}

/// Where a text names an entity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mention {
    pub entity: Id,
    /// In bytes.
    pub span: Range<usize>,
}

/// A text with what is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub text: String,
    pub mentions: Vec<Mention>,
    /// The sentences, in bytes, without the space between them.
    pub sentences: Vec<Range<usize>>,
    /// The event that each sentence tells, as a place in what was told.
    pub events: Vec<usize>,
    /// Where the words are, in bytes: Chinese only.
    pub words: Vec<Range<usize>>,
    /// For each thing whose colour was said: where.
    pub colours: Vec<(Id, Range<usize>)>,
}

/// Tells a story's events.
pub(super) struct Teller<'a> {
    pub story: &'a Story,
    pub grammar: &'a Grammar,
    pub tongue: Tongue,
    pub rng: &'a mut Rng,
    /// Nothing is introduced and no pronoun used: for sentences that stand alone.
    pub plain: bool,
    /// Only what names everyone and everything that took part is said.
    pub complete: bool,
    pub introduced: BTreeSet<Id>,
    /// Whose trade was said.
    pub labelled: BTreeSet<Id>,
    /// Who the last sentence was about.
    pub focus: Option<Id>,
    /// Who and what the last sentence spoke of.
    pub previous: BTreeSet<Id>,
    /// Who and what this sentence spoke of.
    pub current: BTreeSet<Id>,
    pub told: Told,
    sentence_begin: Option<usize>,
}

impl<'a> Teller<'a> {
    pub fn new(story: &'a Story, grammar: &'a Grammar, tongue: Tongue, rng: &'a mut Rng) -> Self {
        Self {
            story,
            grammar,
            tongue,
            rng,
            plain: false,
            complete: false,
            introduced: BTreeSet::new(),
            labelled: BTreeSet::new(),
            focus: None,
            previous: BTreeSet::new(),
            current: BTreeSet::new(),
            told: Told::default(),
            sentence_begin: None,
        }
    }

    pub fn is_person(&self, id: Id) -> bool {
        matches!(self.story.entity(id), Some(Entity::Person { .. }))
    }

    /// Whether a pronoun for `id` can mean nobody else: it was spoken of just now, and no other
    /// that `rival` takes for alike was.
    pub fn is_clear(&self, id: Id, rival: impl Fn(&Entity) -> bool) -> bool {
        let mut near = self.previous.union(&self.current);
        let seen = self.previous.contains(&id) || self.current.contains(&id);
        !self.plain
            && seen
            && !near.any(|other| *other != id && self.story.entity(*other).is_some_and(&rival))
    }

    /// Whether somebody was spoken of in this sentence already.
    pub fn subject_is_set(&self) -> bool {
        self.current.iter().any(|other| self.is_person(*other))
    }

    pub fn emit(&mut self, said: Vec<Said>) {
        for Said { text, names } in said {
            if text.is_empty() {
                continue;
            }
            match self.tongue {
                Tongue::English => self.emit_english(&text, names),
                Tongue::Chinese => {
                    let begin = self.told.text.len();
                    for word in text.split_whitespace() {
                        self.sentence_begin.get_or_insert(self.told.text.len());
                        let word_begin = self.told.text.len();
                        self.told.text.push_str(word);
                        self.told.words.push(word_begin..self.told.text.len());
                    }
                    if let Some(entity) = names {
                        let span = begin..self.told.text.len();
                        self.told.mentions.push(Mention { entity, span });
                    }
                }
            }
        }
    }

    fn emit_english(&mut self, text: &str, names: Option<Id>) {
        let told = &mut self.told;
        let first = match self.sentence_begin {
            Some(begin) => told.text.get(begin..).is_some_and(|t| t == "\""),
            None => {
                if !told.text.is_empty() {
                    told.text.push(' ');
                }
                self.sentence_begin = Some(told.text.len());
                true
            }
        };
        let begin = told.text.len();
        let mut letters = text.chars();
        match letters.next() {
            Some(letter) if first => {
                told.text.extend(letter.to_uppercase());
                told.text.push_str(letters.as_str());
            }
            _ => told.text.push_str(text),
        }
        if let Some(entity) = names {
            told.mentions.push(Mention { entity, span: begin..told.text.len() });
        }
    }

    /// Notes where the colour of a thing is said: next, after `before`.
    pub fn note_colour(&mut self, id: Id, colour: &str, before: &str) {
        // The space before a sentence is written with its first word.
        let space = usize::from(self.sentence_begin.is_none() && !self.told.text.is_empty());
        let begin = self.told.text.len() + space + before.len();
        self.told.colours.push((id, begin..begin + colour.len()));
    }

    pub fn finish(&mut self, event: usize) {
        let Some(begin) = self.sentence_begin.take() else { return };
        self.told.sentences.push(begin..self.told.text.len());
        self.told.events.push(event);
        self.previous = std::mem::take(&mut self.current);
        if !self.previous.iter().any(|id| self.is_person(*id)) {
            self.focus = None;
        }
    }
}

/// Whether telling this event says nothing but how somebody feels or what a place is like.
pub(super) fn is_setting(act: Act) -> bool {
    use Act::*;
    matches!(
        act,
        Morning
            | Sun
            | Rain
            | Wind
            | Fog
            | Scene
            | Sad
            | Happy
            | Angry
            | Glad
            | Gloomy
            | Evening
            | Storm
            | Later
            | Wait
            | Go
    )
}
