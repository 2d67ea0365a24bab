//! What may happen: each plot tells events in order, moves things, and ends well, badly or plainly.

mod days;
mod things;

use super::{
    Mood, Topic,
    event::{Act, Id, Role::*},
    simulation::Simulation,
};
use kiln_datasets::draw::Draw as _;

impl Simulation<'_> {
    /// Lets the plot happen to the child `a`.
    pub fn plot(&mut self, topic: Topic, a: Id) -> Mood {
        match topic {
            Topic::Lost => self.lost(a),
            Topic::Animals => self.animals(a),
            Topic::Gift => self.gift(a),
            Topic::Help => self.help(a),
            Topic::Trade => self.trade(a),
            Topic::Purchase => self.purchase(a),
            Topic::Quarrel => self.quarrel(a),
            Topic::Repair => self.repair(a),
            Topic::Cooking => self.cooking(a),
            Topic::Contest => self.contest(a),
            Topic::Lending => self.lending(a),
            Topic::Voyage => self.voyage(a),
            Topic::Errand => self.errand(a),
            Topic::Fishing => self.fishing(a),
            Topic::Lesson => self.lesson(a),
        }
    }

    /// Tells of a meeting.
    fn meet(&mut self, a: Id, b: Id) {
        self.tell(Act::Meet, &[(A, a), (B, b), (P, self.here)]);
    }

    /// Perhaps thanks.
    fn thank(&mut self, a: Id, b: Id) {
        if self.rng.chance(0.6) {
            self.tell(Act::Thank, &[(A, a), (B, b)]);
        }
    }
}
