//! Chinese names, nouns and measure words.

use super::{
    event::{Entity, Id},
    tell::{Said, Teller},
    template::Form,
};
use kiln_datasets::draw::Draw as _;

/// Says an entity; spaces stand between words until the text is put together.
pub(super) fn say(teller: &mut Teller<'_>, id: Id, entity: &Entity, form: Form) -> Vec<Said> {
    let known = teller.introduced.contains(&id) || teller.plain;
    match entity {
        Entity::Person { name, girl, label, .. } => {
            let pronoun = Said::plain(if *girl { "她" } else { "他" });
            let alike =
                |e: &Entity| matches!(e, Entity::Person { girl: other, .. } if other == girl);
            let subject = !teller.subject_is_set() && teller.focus == Some(id);
            let clear = subject && teller.is_clear(id, alike);
            if form == Form::He || (form == Form::Auto && known && clear && teller.rng.chance(0.5))
            {
                return vec![pronoun];
            }
            let named = Said::naming(&name.chinese, id);
            match label.as_ref().filter(|_| !known && form == Form::Auto) {
                Some(label) => vec![Said::plain(&label.chinese), named],
                None => vec![named],
            }
        }
        Entity::Animal { species, name, colour } => match name {
            Some(name) if known => vec![Said::naming(&name.chinese, id)],
            Some(name) => vec![
                Said::plain("一 只 叫"),
                Said::naming(&name.chinese, id),
                Said::plain("的"),
                Said::naming(&species.chinese, id),
            ],
            None if known => vec![Said::naming(&species.chinese, id)],
            None => vec![
                Said::plain(format!("一 只 {}", colour.chinese)),
                Said::naming(&species.chinese, id),
            ],
        },
        Entity::Thing { noun, adjective, name, .. } => {
            let bare = Said::naming(&noun.word.chinese, id);
            let form = if form == Form::Auto && !known { Form::A } else { form };
            match (form, name) {
                (Form::Use, _) => vec![Said::plain(if noun.usage.chinese.is_empty() {
                    "用"
                } else {
                    &noun.usage.chinese
                })],
                (Form::A, Some(name)) => vec![
                    Said::plain(format!("一 {}", noun.measure)),
                    bare,
                    Said::plain("“"),
                    Said::naming(&name.chinese, id),
                    Said::plain("”"),
                ],
                (_, Some(name)) if known => {
                    vec![Said::plain("“"), Said::naming(&name.chinese, id), Said::plain("”")]
                }
                (Form::A, None) => {
                    let adjective = adjective.as_ref().map_or("", |word| &word.chinese);
                    vec![Said::plain(format!("一 {} {adjective}", noun.measure)), bare]
                }
                _ => vec![bare],
            }
        }
        Entity::Place(spot) => {
            let noun = Said::naming(&spot.chinese, id);
            match form {
                Form::At => vec![noun, Said::plain(&spot.locative)],
                _ => vec![noun],
            }
        }
        Entity::Count { word, .. } => vec![Said::naming(&word.chinese, id)],
    }
}
