//! Tasks from the world of the stories, with exact labels.

mod change;
mod instruct;
mod knowledge;
mod label;
mod pair;
mod question;
mod retrieve;
mod translate;

pub use knowledge::Fact;
pub use label::StoryLabel;
pub use translate::TAVI;

use super::{
    event::{Event, Story},
    source::StorySource,
    tell::{Teller, Told, Tongue},
};
use kiln_host::Rng;

impl StorySource {
    /// The generator of a task.
    fn task_rng(&self, index: u64, task: &str) -> Rng {
        self.seed(index).part(task).rng()
    }

    /// One event in plain words that need nothing before them, without a pronoun.
    fn statement(&self, story: &Story, event: &Event, rng: &mut Rng) -> String {
        let Some(template) = self.grammar.get(&event.act).and_then(|t| t.english.first()) else {
            return String::new();
        };
        self.teller(story, rng).alone(template, event).text
    }

    /// These events told from the beginning, as if nothing had been said before, and with everyone
    /// and everything that took part.
    fn passage(&self, story: &Story, events: &[Event], rng: &mut Rng) -> Told {
        let mut teller = self.teller(story, rng);
        teller.complete = true;
        teller.tell(events)
    }

    /// The event as far as [`Self::passage`] tells it.
    fn told_of(&self, event: &Event) -> Event {
        let telling = self.grammar.get(&event.act);
        telling.map_or_else(|| event.clone(), |telling| event.only(&telling.complete().1))
    }

    fn teller<'a>(&'a self, story: &'a Story, rng: &'a mut Rng) -> Teller<'a> {
        Teller::new(story, &self.grammar, Tongue::English, rng)
    }
}
