//! What happens in stories as knowledge: facts, each before the sentence that tells it.

use crate::stories::{
    StorySource,
    event::{Event, Role, Story},
    tell::is_setting,
};
use kiln_datasets::draw::Draw as _;
use kiln_host::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Knowledge triple: who does what to whom, with what or where, and a sentence that states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Who.
    pub head: String,
    /// What is done.
    pub relation: String,
    /// To whom, with what or where.
    pub tail: String,
    /// The sentence.
    pub sentence: String,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, relation, tail, sentence } = self;
        write!(f, "({head}, {relation}, {tail}) {sentence}")
    }
}

impl StorySource {
    /// The facts of the story at `index`, in their order.
    pub fn facts(&self, index: u64) -> Vec<Fact> {
        let story = self.story(index);
        let rng = &mut self.task_rng(index, "knowledge");
        story.events.iter().filter_map(|event| self.fact(&story, event, rng)).collect()
    }

    /// What an event comes to; `None` where its sentence does not name two that take part.
    fn fact(&self, story: &Story, event: &Event, rng: &mut Rng) -> Option<Fact> {
        if is_setting(event.act) {
            return None;
        }
        let template = self.grammar.get(&event.act)?.english.first()?;
        let told = self.teller(story, rng).alone(template, event);
        let named = |role: Role| {
            let id = event.get(role)?;
            let mention = told.mentions.iter().find(|mention| mention.entity == id)?;
            told.text.get(mention.span.clone()).map(str::to_owned)
        };
        let others = [Role::B, Role::C, Role::N, Role::X, Role::Y, Role::P];
        let others: Vec<String> = others.into_iter().filter_map(named).collect();
        Some(Fact {
            head: named(Role::A)?,
            relation: format!("{:?}", event.act).to_lowercase(),
            tail: others.get(rng.below(others.len()))?.clone(),
            sentence: told.text.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::stories::Stories;
    use kiln_host::Seed;

    #[test]
    fn facts_are_said_by_their_sentences() {
        let source = Stories::default().source(Seed::new(5)).unwrap();
        let mut relations = std::collections::BTreeSet::new();
        for index in 0..200 {
            let facts = source.facts(index);
            assert_eq!(facts, source.facts(index));
            for fact in facts {
                assert!(fact.sentence.contains(&fact.head), "{fact}");
                assert!(fact.sentence.contains(&fact.tail) && fact.head != fact.tail, "{fact}");
                assert!(fact.sentence.ends_with('.'), "{fact}");
                relations.insert(fact.relation);
            }
        }
        assert!(relations.len() > 20, "{relations:?}");
        assert!(relations.contains("find") && !relations.contains("rain"), "{relations:?}");
    }
}
