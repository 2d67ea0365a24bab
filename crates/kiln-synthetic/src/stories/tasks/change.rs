//! Stories with a fact changed.

use crate::stories::{
    StorySource,
    event::{Entity, Event, Id, Role, Story},
    simulation::Simulation,
};
use kiln_datasets::draw::Draw as _;
use kiln_host::Rng;

impl StorySource {
    /// Another of the same kind as `id`, who or which the story does not know; it is added.
    pub(super) fn stranger(&self, story: &mut Story, id: Id, rng: &mut Rng) -> Id {
        let mut world = Simulation::around(&self.lexicon, story, rng);
        let stranger = world.stranger(id);
        let entities = world.entities;
        story.entities = entities;
        stranger
    }

    /// The event with others in `count` of its roles.
    pub(super) fn altered(
        &self,
        story: &mut Story,
        event: &Event,
        count: usize,
        rng: &mut Rng,
    ) -> Event {
        let mut roles: Vec<Role> = event.roles.iter().map(|(role, _)| *role).collect();
        let mut event = event.clone();
        for _ in 0..count.min(roles.len()) {
            let role = roles.remove(rng.below(roles.len()));
            if let Some(old) = event.get(role) {
                event = event.with(role, self.stranger(story, old, rng));
            }
        }
        event
    }

    /// The story with everything of one kind changed: other places, or other things.
    pub(super) fn retold(&self, story: &Story, rng: &mut Rng) -> Story {
        let mut retold = story.clone();
        let places = rng.chance(0.5);
        for id in 0..story.entities.len() {
            let fits = match story.entity(id) {
                Some(Entity::Place(_)) => places,
                Some(Entity::Thing { .. }) => !places,
                _ => false,
            };
            if fits {
                let stranger = self.stranger(&mut retold, id, rng);
                for event in &mut retold.events {
                    for (_, role) in &mut event.roles {
                        if *role == id {
                            *role = stranger;
                        }
                    }
                }
            }
        }
        retold
    }
}
