//! Sentences with slots and choices: `{A} [went|walked] {P:to}.`

use super::{
    event::{Act, Role},
    fault,
};
use kiln_datasets::{DataError, Result, draw::Draw as _};
use kiln_host::Rng;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const EVENTS: &str = include_str!("../../embedded/stories/events.toml");

/// Surface form of a slot. Forms that are not of a language mean its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Form {
    /// By what came before: a name, a pronoun, a noun with its article; a place as where.
    Auto,
    /// A person as an object: `him` where that is clear.
    O,
    /// Whose: `her` where that is clear.
    S,
    /// A person who is met for the first time: `a girl called Mia`.
    New,
    Name,
    He,
    Him,
    His,
    /// With the indefinite article.
    A,
    /// As [`Form::Auto`], but no pronoun.
    The,
    /// Without an article.
    Bare,
    It,
    /// What one does with the thing.
    Use,
    /// Its colour.
    Colour,
    /// A place as where, spelt out.
    Full,
    /// A place as where to.
    To,
    /// A Chinese place as where, without the preposition.
    At,
    /// A sentence about the place.
    Scene,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Slot(Role, Form),
    Choice(Vec<Template>),
    /// Here begins a sentence.
    Break,
}

/// A sentence to be, or several.
pub(super) type Template = Vec<Piece>;

/// How an event is told and asked for.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    pub english: Vec<Template>,
    pub chinese: Vec<Template>,
    pub questions: Vec<Asking>,
}

/// A question for what an event says of one role.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub question: Template,
    pub role: Role,
    /// [`Form::Colour`], or what the role is called.
    pub form: Form,
}

/// How every event is told.
pub(super) type Grammar = BTreeMap<Act, Telling>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tell: Vec<String>,
    chinese: Vec<String>,
    #[serde(default)]
    ask: Vec<(String, String)>,
}

/// Reads the embedded grammar.
pub(super) fn read_grammar() -> Result<Grammar> {
    let entries: BTreeMap<Act, Entry> =
        toml::from_str(EVENTS).map_err(|error| fault("events.toml", error))?;
    let telling = |(act, entry): (Act, Entry)| {
        let all = |texts: &[String]| texts.iter().map(|text| parse(text)).collect::<Result<_>>();
        let asking = |(question, answer): &(String, String)| {
            let (role, form) = parse_slot(answer)?;
            Ok(Asking { question: parse(question)?, role, form })
        };
        let telling = Telling {
            english: all(&entry.tell)?,
            chinese: all(&entry.chinese)?,
            questions: entry.ask.iter().map(asking).collect::<Result<_>>()?,
        };
        Ok((act, telling))
    };
    entries.into_iter().map(telling).collect()
}

fn parse(text: &str) -> Result<Template> {
    let (template, rest) = parse_until(text, text, false)?;
    if rest.is_empty() { Ok(template) } else { Err(bad(text, "a bracket is not opened")) }
}

fn bad(text: &str, reason: &str) -> DataError {
    let path = Path::new("events.toml").to_owned();
    let line = EVENTS.lines().position(|line| line.contains(text)).map_or(1, |line| line + 1);
    DataError::Line { path, line, reason: format!("`{text}`: {reason}") }
}

fn parse_slot(slot: &str) -> Result<(Role, Form)> {
    let (role, form) = slot.split_once(':').unwrap_or((slot, "auto"));
    let role = match role {
        "A" => Role::A,
        "B" => Role::B,
        "C" => Role::C,
        "N" => Role::N,
        "X" => Role::X,
        "Y" => Role::Y,
        "P" => Role::P,
        "K" => Role::K,
        _ => return Err(bad(slot, "there is no such role")),
    };
    let reader = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(form);
    let form = Form::deserialize(reader).map_err(|_| bad(slot, "there is no such form"))?;
    Ok((role, form))
}

/// Parses up to a `|` or `]` where `inside` brackets, else to the end.
fn parse_until<'a>(mut text: &'a str, whole: &str, inside: bool) -> Result<(Template, &'a str)> {
    let mut pieces = Template::new();
    loop {
        let stop = text.find(['{', '[', '|', ']', '/']).unwrap_or(text.len());
        let (plain, rest) = text.split_at(stop);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        if let Some(after) = rest.strip_prefix('{') {
            let (slot, after) =
                after.split_once('}').ok_or_else(|| bad(whole, "a brace is not closed"))?;
            let (role, form) = parse_slot(slot)?;
            pieces.push(Piece::Slot(role, form));
            text = after;
        } else if let Some(mut after) = rest.strip_prefix('[') {
            let mut choices = Vec::new();
            loop {
                let (choice, rest) = parse_until(after, whole, true)?;
                choices.push(choice);
                if let Some(rest) = rest.strip_prefix(']') {
                    text = rest;
                    break;
                }
                after =
                    rest.strip_prefix('|').ok_or_else(|| bad(whole, "a bracket is not closed"))?;
            }
            pieces.push(Piece::Choice(choices));
        } else if let Some(after) = rest.strip_prefix("// ") {
            if let Some(Piece::Text(before)) = pieces.last_mut() {
                before.truncate(before.trim_end().len());
            }
            pieces.push(Piece::Break);
            text = after;
        } else if inside || rest.is_empty() {
            return Ok((pieces, rest));
        } else {
            return Err(bad(whole, "a bracket is not opened"));
        }
    }
}

/// The roles that are named whatever is chosen.
pub(super) fn named(template: &Template) -> BTreeSet<Role> {
    let mut roles = BTreeSet::new();
    for piece in template {
        match piece {
            Piece::Slot(_, Form::Use | Form::Scene) | Piece::Text(_) | Piece::Break => {}
            Piece::Slot(role, _) => {
                roles.insert(*role);
            }
            Piece::Choice(choices) => {
                let each = choices.iter().map(named);
                roles.extend(each.reduce(|a, b| &a & &b).unwrap_or_default());
            }
        }
    }
    roles
}

impl Telling {
    /// The English templates that say most, and the roles that all of them name.
    pub fn complete(&self) -> (Vec<&Template>, BTreeSet<Role>) {
        let most = self.english.iter().map(named).max_by_key(BTreeSet::len).unwrap_or_default();
        let full = |template: &&Template| named(template).is_superset(&most);
        (self.english.iter().filter(full).collect(), most)
    }
}

/// The template without choices: each is made at random.
pub(super) fn choose<'a>(template: &'a Template, rng: &mut Rng, chosen: &mut Vec<&'a Piece>) {
    for piece in template {
        match piece {
            Piece::Choice(choices) => {
                if let Some(choice) = choices.get(rng.below(choices.len())) {
                    choose(choice, rng, chosen);
                }
            }
            other => chosen.push(other),
        }
    }
}
