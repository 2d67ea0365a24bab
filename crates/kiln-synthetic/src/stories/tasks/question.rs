//! Questions about stories, answered by a piece of the text or not at all.

use crate::stories::{
    StorySource,
    event::{Act, Entity, Event, Id, Role, Story},
    tell::{Told, Tongue},
    template::{Asking, Form, Piece, Template},
};
use kiln_datasets::{
    draw::Draw as _,
    labelled::{Answer, Question},
};
use kiln_host::Rng;
use std::ops::Range;

/// A question that may be asked: of which event, and how.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub event: &'a Event,
    /// The event's place in the story.
    pub place: usize,
    pub asking: &'a Asking,
}

impl StorySource {
    /// A question about the story at `index`; every fourth has no answer in it, although it asks
    /// for somebody or something that the story tells of (as in SQuAD 2.0,
    /// <https://arxiv.org/abs/1806.03822>).
    pub fn question(&self, index: u64) -> Question {
        let story = self.story(index);
        let told = self.tell(index, &story, 0, Tongue::English);
        let rng = &mut self.task_rng(index, "question");
        let unanswerable = rng.chance(0.25).then(|| self.unanswerable(&story, rng)).flatten();
        let (question, answers) = match unanswerable {
            Some((event, asking)) => {
                (self.teller(&story, rng).alone(&asking.question, &event).text, Vec::new())
            }
            None => {
                let mut queries = self.queries(&story);
                queries.retain(|query| answer_span(&told, query).is_some());
                match queries.get(rng.below(queries.len())) {
                    Some(query) => {
                        let span = answer_span(&told, query);
                        let text = span.clone().and_then(|span| told.text.get(span));
                        let text = text.unwrap_or_default().to_owned();
                        (self.ask(&story, query, rng), vec![Answer { text, span }])
                    }
                    // A story in which nothing can be asked for has no colour of the weather.
                    None => ("What colour was the sky?".to_owned(), Vec::new()),
                }
            }
        };
        let id = format!("question-{}", self.number(index));
        Question { id, context: told.text, question, answers }
    }

    /// The words of a question.
    pub(super) fn ask(&self, story: &Story, query: &Query<'_>, rng: &mut Rng) -> String {
        self.teller(story, rng).alone(&query.asking.question, query.event).text
    }

    /// Every question that the story answers in one way.
    pub(super) fn queries<'a>(&'a self, story: &'a Story) -> Vec<Query<'a>> {
        let mut queries = Vec::new();
        for (place, event) in story.events.iter().enumerate() {
            let askings = self.grammar.get(&event.act).map_or(&[][..], |t| &t.questions);
            for asking in askings {
                let query = Query { event, place, asking };
                let colour = asking.form != Form::Colour || has_colour(story, event, asking.role);
                if colour && !is_ambiguous(story, &query) {
                    queries.push(query);
                }
            }
        }
        queries
    }

    /// A question of the right kind about the wrong one, and the event that it takes for granted.
    pub(super) fn unanswerable<'a>(
        &'a self,
        story: &'a Story,
        rng: &mut Rng,
    ) -> Option<(Event, &'a Asking)> {
        let mut wrong: Vec<(Event, &'a Asking)> = Vec::new();
        for query in self.queries(story) {
            // Who has what in the end, and what was lost, may follow from other events.
            if query.asking.form == Form::Colour || matches!(query.event.act, Act::Keep | Act::Miss)
            {
                continue;
            }
            for role in slots(&query.asking.question) {
                if role == query.asking.role {
                    continue;
                }
                for other in substitutes(story, query.event, role) {
                    let event = query.event.with(role, other);
                    let asked = Query { event: &event, ..query };
                    if story.events.iter().all(|e| meant(e, &asked).is_empty()) {
                        wrong.push((event, query.asking));
                    }
                }
            }
        }
        wrong.get(rng.below(wrong.len())).cloned()
    }
}

/// Others of the story that could stand in this role.
fn substitutes(story: &Story, event: &Event, role: Role) -> Vec<Id> {
    let Some(old) = event.get(role) else { return Vec::new() };
    let named: Vec<Id> =
        story.events.iter().flat_map(|event| event.roles.iter().map(|(_, id)| *id)).collect();
    let fits = |id: &Id| {
        let same = story.entity(*id).zip(story.entity(old)).is_some_and(|(a, b)| a.same_kind(b));
        same && named.contains(id) && !event.roles.iter().any(|(_, other)| other == id)
    };
    (0..story.entities.len()).filter(fits).collect()
}

fn has_colour(story: &Story, event: &Event, role: Role) -> bool {
    let thing = event.get(role).and_then(|id| story.entity(id));
    matches!(thing, Some(Entity::Thing { coloured: true, .. }))
}

/// The roles that a question names.
pub(super) fn slots(template: &Template) -> Vec<Role> {
    let role = |piece: &Piece| match piece {
        Piece::Slot(role, _) => Some(*role),
        _ => None,
    };
    template.iter().filter_map(role).collect()
}

/// The event in all the words in which one could ask for it.
fn readings(event: &Event) -> Vec<Event> {
    use Role::{A, B, P, X, Y};
    let read = |act: Act, roles: &[(Role, Role)]| {
        let role = |&(new, old): &(Role, Role)| event.get(old).map(|id| (new, id));
        Event::new(act, &roles.iter().filter_map(role).collect::<Vec<_>>())
    };
    let mut readings = vec![event.clone()];
    if is_mutual(event.act) {
        readings.push(read(event.act, &[(A, B), (B, A), (X, X), (Y, Y), (P, P)]));
    }
    match event.act {
        Act::Both => readings
            .extend([read(Act::Want, &[(A, A), (X, X)]), read(Act::Want, &[(A, B), (X, X)])]),
        Act::Fetch => readings.push(read(Act::Get, &[(A, A), (X, Y), (P, P)])),
        Act::Get => readings.push(read(Act::Fetch, &[(A, A), (Y, X), (P, P)])),
        Act::Return => readings.push(read(Act::Give, &[(A, A), (B, B), (X, X)])),
        Act::Deliver => readings.push(read(Act::Give, &[(A, B), (B, A), (X, Y)])),
        Act::Swap => readings.extend([
            read(Act::Give, &[(A, A), (B, B), (X, Y)]),
            read(Act::Give, &[(A, B), (B, A), (X, X)]),
        ]),
        _ => {}
    }
    readings
}

/// Both take part alike: who quarrelled with whom is all one.
pub(super) fn is_mutual(act: Act) -> bool {
    matches!(
        act,
        Act::Both | Act::Quarrel | Act::Share | Act::Sulk | Act::Eat | Act::Race | Act::Meet
    )
}

/// The readings of an event that the question may mean.
fn meant(event: &Event, query: &Query<'_>) -> Vec<Event> {
    let named = slots(&query.asking.question);
    let same = |reading: &Event| {
        reading.act == query.event.act
            && named
                .iter()
                .filter(|role| **role != query.asking.role)
                .all(|role| reading.get(*role) == query.event.get(*role))
    };
    readings(event).into_iter().filter(same).collect()
}

fn is_ambiguous(story: &Story, query: &Query<'_>) -> bool {
    let answer = query.event.get(query.asking.role);
    let mut meant = story.events.iter().flat_map(|event| meant(event, query));
    meant.any(|reading| reading.get(query.asking.role) != answer)
}

/// Where the text says the answer: where it tells the event, else the last time before.
fn answer_span(told: &Told, query: &Query<'_>) -> Option<Range<usize>> {
    let id = query.event.get(query.asking.role)?;
    if query.asking.form == Form::Colour {
        return told.colours.iter().find(|(thing, _)| *thing == id).map(|(_, span)| span.clone());
    }
    let of_event = |(at, _): &(&usize, &Range<usize>)| **at == query.place;
    let mut sentences = told.events.iter().zip(&told.sentences).filter(of_event);
    let first = sentences.next()?.1;
    let end = sentences.next_back().map_or(first.end, |(_, span)| span.end);
    let mut mentions = told.mentions.iter().filter(|mention| mention.entity == id);
    let within = |span: &Range<usize>| span.start >= first.start && span.end <= end;
    let here = mentions.clone().find(|mention| within(&mention.span));
    let before = mentions.rfind(|mention| mention.span.end <= first.start);
    here.or(before).map(|mention| mention.span.clone())
}
