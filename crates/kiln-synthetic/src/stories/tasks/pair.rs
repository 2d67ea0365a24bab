//! Pairs of texts: how alike they are, whether one follows from the other.

use super::question::{Query, is_mutual};
use crate::stories::{
    StorySource,
    event::{Act, Event, Id, Role, Story},
    tell::{Tongue, is_setting},
    template::Form,
};
use kiln_datasets::{
    draw::Draw as _,
    labelled::{Label, Pair, Triplet},
};
use kiln_host::Rng;

/// That the second text follows from the first.
const FOLLOWS: &str = "entailment";
/// That it cannot be if the first is true.
const CONTRADICTS: &str = "contradiction";
/// That the first says nothing of it.
const UNKNOWN: &str = "neutral";

impl StorySource {
    /// Two sentences and how alike they are, 0 to 5: five times the share of facts (what happens,
    /// who, what, where) that they have in common.
    pub fn similarity(&self, index: u64) -> Pair {
        let mut story = self.story(index);
        let rng = &mut self.task_rng(index, "similarity");
        let event = self.told_of(&event_of(&story, rng));
        let facts = event.roles.len() + 1;
        let first = self.passage(&story, std::slice::from_ref(&event), rng).text;
        if rng.chance(0.15) {
            let other = self.story(index.wrapping_add(1));
            let unlike: Vec<Event> =
                other.events.iter().filter(|e| e.act != event.act).cloned().collect();
            let unlike = Story { events: unlike, ..other };
            // Two stories may share a name; their sentences then share a fact.
            let second = self.told_of(&event_of(&unlike, rng));
            let words = |story: &Story, event: &Event| -> Vec<String> {
                let of = |(_, id): &(Role, Id)| story.entity(*id).map(|e| format!("{e:?}"));
                event.roles.iter().filter_map(of).collect()
            };
            let known = words(&story, &event);
            if !words(&unlike, &second).iter().any(|word| known.contains(word)) {
                let second = self.passage(&unlike, &[second], rng).text;
                return Pair { first, second, label: Some(Label::Value(0.0)) };
            }
        }
        let changes = rng.below(facts);
        let altered = self.altered(&mut story, &event, changes, rng);
        let same = event.roles.iter().zip(&altered.roles).filter(|(a, b)| a == b).count() + 1;
        let altered = [altered];
        let mut second = self.passage(&story, &altered, rng).text;
        // Other words, where there are some.
        for _ in 0..5 {
            if second != first {
                break;
            }
            second = self.passage(&story, &altered, rng).text;
        }
        let value = 5.0 * same as f64 / facts as f64;
        Pair { first, second, label: Some(Label::Value(value)) }
    }

    /// A story and a statement that follows from it (`entailment`), contradicts it
    /// (`contradiction`), or of which it says nothing (`neutral`), as in SNLI
    /// (<https://arxiv.org/abs/1508.05326>).
    pub fn entailment(&self, index: u64) -> Pair {
        let mut story = self.story(index);
        let first = self.tell(index, &story, 0, Tongue::English).text;
        let rng = &mut self.task_rng(index, "entailment");
        let found = match rng.below(3) {
            0 => None,
            1 => self.false_event(&mut story, rng).map(|event| (CONTRADICTS, event)),
            _ => self.unknown_event(&mut story, rng).map(|event| (UNKNOWN, event)),
        };
        let (label, event) = found.unwrap_or_else(|| (FOLLOWS, event_of(&story, rng)));
        let second = self.statement(&story, &event, rng);
        Pair { first, second, label: Some(Label::Class(label.into())) }
    }

    /// A story, the same in other words, and others: the first of them has the same plot, but
    /// elsewhere or with other things.
    pub fn paraphrase(&self, index: u64, negatives: usize) -> Triplet {
        let story = self.story(index);
        let text = |story: &Story, telling| self.tell(index, story, telling, Tongue::English).text;
        let rng = &mut self.task_rng(index, "paraphrase");
        let near = self.retold(&story, rng);
        let others = (1..).map(|n| self.document(index.wrapping_add(n)).text);
        Triplet {
            anchor: text(&story, 0),
            positive: text(&story, 1),
            negatives: std::iter::once(text(&near, 2)).chain(others).take(negatives).collect(),
        }
    }

    /// Something that cannot be if the story is true.
    pub(super) fn false_event(&self, story: &mut Story, rng: &mut Rng) -> Option<Event> {
        let exclusive = |query: &Query<'_>| {
            let act = query.event.act;
            let role = query.asking.role;
            let only = match role {
                // One may be in many places, but one finds, drops and breaks a thing in one.
                Role::P => matches!(
                    act,
                    Act::Drop | Act::Find | Act::Break | Act::Fetch | Act::Race | Act::Deliver
                ),
                Role::K => true,
                Role::A | Role::B => {
                    let single = matches!(
                        act,
                        Act::Find
                            | Act::Win
                            | Act::Break
                            | Act::Return
                            | Act::Repair
                            | Act::Buy
                            | Act::Give
                            | Act::Keep
                            | Act::Miss
                    );
                    single && !is_mutual(act)
                }
                Role::N => act == Act::Take,
                Role::Y => act == Act::Swap || act == Act::Repair,
                Role::X | Role::C => act == Act::Prize,
            };
            only && query.asking.form != Form::Colour
        };
        let candidates: Vec<(Event, Role)> = self
            .queries(story)
            .into_iter()
            .filter(exclusive)
            .map(|query| (query.event.clone(), query.asking.role))
            .collect();
        let (event, role) = candidates.get(rng.below(candidates.len()))?;
        let old = event.get(*role)?;
        let known: Vec<Id> = (0..story.entities.len())
            .filter(|id| {
                let same = story.entity(*id).zip(story.entity(old));
                same.is_some_and(|(a, b)| a.same_kind(b))
                    && story.events.iter().any(|e| e.roles.iter().any(|(_, other)| other == id))
            })
            .filter(|id| {
                let wrong = event.with(*role, *id);
                !event.roles.iter().any(|(_, other)| other == id) && !story.events.contains(&wrong)
            })
            .collect();
        // Somebody or something of the story is harder to tell from the truth.
        let other = match known.get(rng.below(known.len())) {
            Some(known) if rng.chance(0.7) => *known,
            _ => self.stranger(story, old, rng),
        };
        (other != old).then(|| event.with(*role, other))
    }

    /// Something that may be or not.
    fn unknown_event(&self, story: &mut Story, rng: &mut Rng) -> Option<Event> {
        const ACTS: [(Act, Role); 5] = [
            (Act::Own, Role::X),
            (Act::Practise, Role::P),
            (Act::Study, Role::P),
            (Act::Work, Role::P),
            (Act::Fish, Role::P),
        ];
        let people: Vec<Id> = story.persons().collect();
        let who = *people.get(rng.below(people.len()))?;
        let untold = |(act, _): &&(Act, Role)| {
            *act == Act::Own || story.events.iter().all(|event| event.act != *act)
        };
        let free: Vec<(Act, Role)> = ACTS.iter().filter(untold).copied().collect();
        let (act, role) = *free.get(rng.below(free.len()))?;
        let is_place = role == Role::P;
        let known = (0..story.entities.len()).find(|id| {
            use crate::stories::event::Entity;
            match story.entity(*id) {
                Some(Entity::Place(_)) => is_place,
                Some(Entity::Thing { noun, .. }) => !is_place && !noun.usage.english.is_empty(),
                _ => false,
            }
        })?;
        // Half of the places are the story's.
        let what =
            if is_place && rng.chance(0.5) { known } else { self.stranger(story, known, rng) };
        Some(Event::new(act, &[(Role::A, who), (role, what)]))
    }
}

/// An event of the story that says more than how somebody feels.
pub(super) fn event_of(story: &Story, rng: &mut Rng) -> Event {
    let telling: Vec<&Event> = story
        .events
        .iter()
        .filter(|event| !is_setting(event.act) && event.roles.len() > 1)
        .collect();
    let event = telling.get(rng.below(telling.len())).copied().or(story.events.first());
    event.cloned().unwrap_or_else(|| Event::new(Act::Evening, &[]))
}
