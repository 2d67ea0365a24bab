//! English names, nouns, articles and pronouns.

use super::{
    event::{Entity, Id},
    tell::{Said, Teller},
    template::Form,
};
use kiln_datasets::draw::Draw as _;

/// The article before this word.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an " } else { "a " }
}

/// Says an entity.
pub(super) fn say(teller: &mut Teller<'_>, id: Id, entity: &Entity, form: Form) -> Vec<Said> {
    match entity {
        Entity::Person { name, girl, label, adult } => {
            let label = label.as_ref().map(|label| label.english.as_str());
            person(teller, id, &name.english, *girl, label, *adult, form)
        }
        Entity::Animal { species, name, colour } => {
            let known = teller.introduced.contains(&id) || teller.plain;
            let name = name.as_ref().map(|name| name.english.as_str());
            if !known {
                let mut said = vec![
                    Said::plain(format!("{}{} ", article(&colour.english), colour.english)),
                    Said::naming(&species.english, id),
                ];
                if let Some(name) = name {
                    said.extend([Said::plain(" called "), Said::naming(name, id)]);
                }
                return said;
            }
            let clear = teller.is_clear(id, is_neuter);
            if form == Form::It || (form == Form::Auto && clear && teller.rng.chance(0.4)) {
                return vec![Said::plain("it")];
            }
            match name {
                Some(name) if teller.plain || teller.rng.chance(0.6) => {
                    vec![Said::naming(name, id)]
                }
                _ => vec![Said::plain("the "), Said::naming(&species.english, id)],
            }
        }
        Entity::Thing { .. } => thing(teller, id, entity, form),
        Entity::Place(spot) => {
            let noun = Said::naming(&spot.english, id);
            let the = if spot.named() { "" } else { "the " };
            let only = |e: &Entity| matches!(e, Entity::Place(_));
            match form {
                Form::Bare => vec![noun],
                Form::Scene => {
                    let scene = teller.rng.below(spot.scenes.len());
                    vec![Said::plain(spot.scenes.get(scene).cloned().unwrap_or_default())]
                }
                Form::The => vec![Said::plain(the), noun],
                Form::To => vec![Said::plain(format!("to {the}")), noun],
                Form::Auto if teller.is_clear(id, only) && teller.rng.chance(0.5) => {
                    vec![Said::plain("there")]
                }
                _ => vec![Said::plain(format!("{} {the}", spot.preposition)), noun],
            }
        }
        Entity::Count { word, .. } => vec![Said::naming(&word.english, id)],
    }
}

/// What `it` may mean.
fn is_neuter(entity: &Entity) -> bool {
    matches!(entity, Entity::Thing { .. } | Entity::Animal { .. })
}

fn person(
    teller: &mut Teller<'_>,
    id: Id,
    name: &str,
    girl: bool,
    label: Option<&str>,
    adult: bool,
    form: Form,
) -> Vec<Said> {
    let pronoun = |she: &str, he: &str| vec![Said::plain(if girl { she } else { he })];
    let named = || Said::naming(name, id);
    let known = teller.introduced.contains(&id) || teller.plain;
    let alike = |e: &Entity| matches!(e, Entity::Person { girl: other, .. } if *other == girl);
    // The first person of a sentence is its subject; others are objects, or the subject of another
    // clause, and are named unless the form says which.
    let subject = !teller.subject_is_set() && teller.focus == Some(id);
    let clear = teller.is_clear(id, alike);
    match form {
        Form::He => return pronoun("she", "he"),
        Form::Him => return pronoun("her", "him"),
        Form::His => return pronoun("her", "his"),
        Form::Name => return vec![named()],
        Form::New => {
            let kind = if girl { "a girl called " } else { "a boy called " };
            return vec![Said::plain(kind), named()];
        }
        Form::S if known && clear && teller.rng.chance(0.6) => return pronoun("her", "his"),
        Form::S => return vec![named(), Said::plain("'s")],
        Form::O if known && clear && teller.rng.chance(0.6) => return pronoun("her", "him"),
        Form::Auto if known && subject && clear && teller.rng.chance(0.8) => {
            return pronoun("she", "he");
        }
        _ => {}
    }
    match label {
        Some(trade) if adult && !teller.plain => {
            // A trade stands for a name only once both were said together.
            if teller.labelled.insert(id) {
                vec![named(), Said::plain(format!(" the {trade}"))]
            } else if teller.rng.chance(0.3) {
                vec![Said::plain(format!("the {trade}"))]
            } else {
                vec![named()]
            }
        }
        Some(friend) if !adult && !known => {
            vec![Said::plain(format!("{}{friend} called ", article(friend))), named()]
        }
        _ => vec![named()],
    }
}

fn thing(teller: &mut Teller<'_>, id: Id, entity: &Entity, form: Form) -> Vec<Said> {
    let Entity::Thing { noun, adjective, coloured, name } = entity else { return Vec::new() };
    let known = teller.introduced.contains(&id) || teller.plain;
    let bare = || Said::naming(&noun.word.english, id);
    let quality = adjective.as_ref().map(|word| word.english.as_str());
    match form {
        Form::Use => {
            let usage = if noun.usage.english.is_empty() { "used" } else { &noun.usage.english };
            return vec![Said::plain(usage)];
        }
        Form::Bare => return vec![bare()],
        Form::It => return vec![Said::plain("it")],
        Form::Colour => return vec![Said::plain(quality.unwrap_or_default())],
        Form::Auto if known && teller.is_clear(id, is_neuter) && teller.rng.chance(0.5) => {
            return vec![Said::plain("it")];
        }
        _ => {}
    }
    if known && form != Form::A {
        if let Some(name) = name.as_ref().filter(|_| teller.rng.chance(0.6)) {
            return vec![Said::plain("the "), Said::naming(&name.english, id)];
        }
        // The adjective comes back now and then.
        let again = quality.filter(|_| !teller.plain && teller.rng.chance(0.15));
        return vec![Said::plain(again.map_or("the ".into(), |q| format!("the {q} "))), bare()];
    }
    let head = quality.unwrap_or(&noun.word.english);
    let before = if noun.mass { "some " } else { article(head) };
    let described = quality.map_or(before.to_owned(), |q| format!("{before}{q} "));
    if let Some(colour) = quality.filter(|_| *coloured) {
        teller.note_colour(id, colour, before);
    }
    let mut said = vec![Said::plain(described), bare()];
    if let Some(name) = name {
        said.extend([Said::plain(" called the "), Said::naming(&name.english, id)]);
    }
    said
}
