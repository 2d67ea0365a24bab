//! Plots around what one does on a day: helping, quarrelling, cooking, racing, sailing, fishing.

use crate::stories::{
    Mood,
    event::{Act, Id, Role::*},
    simulation::Simulation,
};
use kiln_datasets::draw::Draw as _;

impl Simulation<'_> {
    pub(super) fn help(&mut self, a: Id) -> Mood {
        let b = self.other(true, &[a]);
        let y = self.load();
        let goal = self.place(&[self.here]);
        self.meet(a, b);
        self.tell(Act::Carry, &[(B, b), (Y, y), (P, goal)]);
        self.tell(Act::Help, &[(A, a), (B, b), (Y, y)]);
        self.heart();
        self.here = goal;
        if self.rng.chance(0.6) {
            let x = self.treasure(false);
            self.tell(Act::Thank, &[(A, b), (B, a)]);
            self.tell(Act::Give, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            self.owners.insert(x, a);
            Mood::Positive
        } else {
            self.tell(Act::Thank, &[(A, b), (B, a)]);
            Mood::Neutral
        }
    }

    pub(super) fn quarrel(&mut self, a: Id) -> Mood {
        let b = self.other(false, &[a]);
        self.meet(a, b);
        let x = self.treasure(true);
        self.tell(Act::Both, &[(A, a), (B, b), (X, x)]);
        self.tell(Act::Quarrel, &[(A, a), (B, b)]);
        self.heart();
        if self.rng.chance(0.6) {
            self.feel(Act::Angry, b);
        }
        if self.rng.chance(0.5) {
            let away = self.place(&[self.here]);
            self.tell(Act::Leave, &[(A, a), (B, b), (P, away)]);
        }
        if self.rng.chance(0.6) {
            let (first, second) = if self.rng.chance(0.5) { (a, b) } else { (b, a) };
            self.tell(Act::Sorry, &[(A, first), (B, second)]);
            self.tell(Act::Share, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            Mood::Positive
        } else {
            self.tell(Act::Sulk, &[(A, a), (B, b)]);
            self.outcome();
            Mood::Negative
        }
    }

    pub(super) fn cooking(&mut self, a: Id) -> Mood {
        let (y, b) = (self.dish(), self.anyone(&[a]));
        self.tell(Act::Plan, &[(A, a), (B, b), (Y, y)]);
        self.heart();
        for _ in 0..1 + self.rng.below(2) {
            let x = self.food();
            self.tell(Act::Lack, &[(A, a), (X, x)]);
            let shop = self.place(&[self.here]);
            self.here = shop;
            self.tell(Act::Get, &[(A, a), (X, x), (P, shop)]);
        }
        if self.rng.chance(0.65) {
            self.tell(Act::Cook, &[(A, a), (Y, y)]);
            self.tell(Act::Eat, &[(A, a), (B, b), (Y, y)]);
            self.outcome();
            if self.rng.chance(0.5) { Mood::Positive } else { Mood::Neutral }
        } else {
            self.tell(Act::Burn, &[(A, a), (Y, y)]);
            self.outcome();
            self.feel(Act::Sad, a);
            Mood::Negative
        }
    }

    pub(super) fn contest(&mut self, a: Id) -> Mood {
        let b = self.other(false, &[a]);
        if self.rng.chance(0.5) {
            let track = self.place(&[]);
            self.tell(Act::Practise, &[(A, a), (P, track)]);
        }
        let goal = self.place(&[self.here]);
        self.tell(Act::Race, &[(A, a), (B, b), (P, goal)]);
        self.heart();
        self.here = goal;
        let wins = self.rng.chance(0.55);
        let (winner, loser) = if wins { (a, b) } else { (b, a) };
        if self.rng.chance(0.6) {
            self.tell(Act::Fall, &[(A, loser)]);
        }
        self.tell(Act::Win, &[(A, winner), (B, loser)]);
        self.outcome();
        if self.rng.chance(0.6) {
            let x = self.prize();
            self.tell(Act::Prize, &[(A, winner), (X, x)]);
            self.owners.insert(x, winner);
        }
        if wins { Mood::Positive } else { Mood::Negative }
    }

    pub(super) fn voyage(&mut self, a: Id) -> Mood {
        let (x, y) = (self.boat(), self.load());
        let b = self.other(true, &[a]);
        self.tell(Act::Own, &[(A, a), (X, x)]);
        self.tell(Act::Load, &[(A, a), (B, b), (Y, y)]);
        let goal = self.place(&[self.here]);
        self.tell(Act::Sail, &[(A, a), (X, x), (P, goal)]);
        self.heart();
        let stormy = self.rng.chance(0.6);
        if stormy {
            self.tell(Act::Storm, &[]);
            if self.rng.chance(0.45) {
                self.tell(Act::Overboard, &[(A, a), (Y, y)]);
                self.outcome();
                self.feel(Act::Sad, a);
                return Mood::Negative;
            }
            let haven = self.place(&[self.here, goal]);
            self.tell(Act::Shelter, &[(A, a), (P, haven)]);
        }
        self.here = goal;
        self.tell(Act::Deliver, &[(A, a), (B, b), (Y, y), (P, goal)]);
        self.outcome();
        if stormy { Mood::Positive } else { Mood::Neutral }
    }

    pub(super) fn errand(&mut self, a: Id) -> Mood {
        let c = self.other(true, &[a]);
        let b = self.anyone(&[a, c]);
        let y = self.parcel();
        self.tell(Act::Send, &[(A, a), (B, b), (C, c), (Y, y)]);
        self.heart();
        if self.rng.chance(0.5) {
            self.walk(a, &[]);
            self.scene(0.5);
        }
        let goal = self.place(&[self.here]);
        self.here = goal;
        self.tell(Act::Deliver, &[(A, a), (B, b), (Y, y), (P, goal)]);
        self.outcome();
        self.thank(b, a);
        Mood::Neutral
    }

    pub(super) fn fishing(&mut self, a: Id) -> Mood {
        let water = self.water(&[]);
        self.walk_to(a, water);
        self.tell(Act::Fish, &[(A, a), (P, self.here)]);
        self.heart();
        self.scene(0.3);
        if self.rng.chance(0.4) {
            self.tell(Act::Nothing, &[(A, a)]);
            self.outcome();
            return Mood::Negative;
        }
        let fish = self.count(2, 10);
        self.tell(Act::Catch, &[(A, a), (K, fish)]);
        self.outcome();
        if self.rng.chance(0.6) {
            let b = self.anyone(&[a]);
            self.meet(a, b);
            self.tell(Act::Split, &[(A, a), (B, b)]);
            return Mood::Positive;
        }
        Mood::Neutral
    }

    pub(super) fn lesson(&mut self, a: Id) -> Mood {
        self.tell(Act::Study, &[(A, a), (P, self.here)]);
        self.heart();
        if self.rng.chance(0.6) {
            let b = self.anyone(&[a]);
            self.tell(Act::Teach, &[(A, a), (B, b)]);
        }
        let (from, to, mood) = match self.rng.below(3) {
            0 => (2, 4, Mood::Negative),
            1 => (5, 7, Mood::Neutral),
            _ => (8, 10, Mood::Positive),
        };
        let points = self.count(from, to);
        self.tell(Act::Pass, &[(A, a), (K, points)]);
        self.outcome();
        mood
    }
}
