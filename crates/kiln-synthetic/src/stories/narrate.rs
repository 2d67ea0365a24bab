//! Narration: events to sentences, by the templates of a grammar.

use super::{
    chinese, english,
    event::{Event, Role},
    tell::{Said, Teller, Told, Tongue},
    template::{Form, Piece, Template, choose},
};
use kiln_datasets::draw::Draw as _;

impl Teller<'_> {
    /// Tells these events in order.
    pub fn tell(mut self, events: &[Event]) -> Told {
        for (place, event) in events.iter().enumerate() {
            let (grammar, tongue) = (self.grammar, self.tongue);
            let Some(telling) = grammar.get(&event.act) else { continue };
            let templates: Vec<&Template> = match tongue {
                Tongue::English if self.complete => telling.complete().0,
                Tongue::English => telling.english.iter().collect(),
                Tongue::Chinese => telling.chinese.iter().collect(),
            };
            if let Some(template) = templates.get(self.rng.below(templates.len())) {
                self.say(template, event, place);
            }
        }
        self.told
    }

    /// One sentence that stands alone: a question, a statement.
    pub fn alone(mut self, template: &Template, event: &Event) -> Told {
        self.plain = true;
        self.say(template, event, 0);
        self.told
    }

    fn say(&mut self, template: &Template, event: &Event, place: usize) {
        let mut pieces = Vec::new();
        choose(template, self.rng, &mut pieces);
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.emit(vec![Said::plain(text.as_str())]),
                Piece::Slot(role, form) => {
                    let said = self.slot(*role, *form, event);
                    self.emit(said);
                }
                Piece::Break => self.finish(place),
                // `choose` leaves none.
                Piece::Choice(_) => {}
            }
        }
        self.finish(place);
    }

    fn slot(&mut self, role: Role, form: Form, event: &Event) -> Vec<Said> {
        let Some(id) = event.get(role) else { return Vec::new() };
        let story = self.story;
        let Some(entity) = story.entity(id) else { return Vec::new() };
        let said = match self.tongue {
            Tongue::English => english::say(self, id, entity, form),
            Tongue::Chinese => chinese::say(self, id, entity, form),
        };
        if self.is_person(id) && !self.subject_is_set() {
            self.focus = Some(id);
        }
        if !matches!(form, Form::Use | Form::Scene) {
            self.current.insert(id);
            self.introduced.insert(id);
        }
        said
    }
}
