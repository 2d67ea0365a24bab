//! Plots around a thing: it is lost, taken, given, traded, bought, broken, lent.

use crate::stories::{
    Mood,
    event::{Act, Id, Role::*},
    simulation::Simulation,
};
use kiln_datasets::draw::Draw as _;

impl Simulation<'_> {
    pub(super) fn lost(&mut self, a: Id) -> Mood {
        let x = self.belonging(a, false);
        let lost_at = self.here;
        if self.rng.chance(0.6) {
            self.tell(Act::Use, &[(A, a), (X, x), (P, lost_at)]);
        }
        if self.rng.chance(0.5) {
            self.tell(Act::Drop, &[(A, a), (X, x), (P, lost_at)]);
        }
        let next = self.walk(a, &[]);
        self.scene(0.3);
        self.tell(Act::Miss, &[(A, a), (X, x)]);
        self.heart();
        self.feel(Act::Sad, a);
        if self.rng.chance(0.7) {
            self.tell(Act::Search, &[(A, a), (X, x), (P, next)]);
        }
        let b = self.anyone(&[a]);
        self.tell(Act::Ask, &[(A, a), (B, b), (X, x)]);
        match self.rng.below(4) {
            0 => {
                self.tell(Act::Seen, &[(B, b), (X, x), (P, lost_at)]);
                self.walk_to(a, lost_at);
                self.tell(Act::Find, &[(A, a), (X, x), (P, lost_at)]);
                self.outcome();
                Mood::Positive
            }
            1 => {
                self.tell(Act::Unseen, &[(B, b), (X, x)]);
                self.walk_to(a, lost_at);
                self.tell(Act::Find, &[(A, a), (X, x), (P, lost_at)]);
                self.outcome();
                self.feel(Act::Happy, a);
                Mood::Positive
            }
            2 => {
                let c = self.anyone(&[a, b]);
                self.tell(Act::Unseen, &[(B, b), (X, x)]);
                self.tell(Act::Find, &[(A, c), (X, x), (P, lost_at)]);
                self.tell(Act::Return, &[(A, a), (B, c), (X, x)]);
                self.outcome();
                self.thank(a, c);
                Mood::Positive
            }
            _ => {
                self.tell(Act::Unseen, &[(B, b), (X, x)]);
                self.walk_to(a, lost_at);
                self.tell(Act::Search, &[(A, a), (X, x), (P, lost_at)]);
                self.tell(Act::Never, &[(A, a), (X, x)]);
                self.outcome();
                self.owners.remove(&x);
                Mood::Negative
            }
        }
    }

    pub(super) fn animals(&mut self, a: Id) -> Mood {
        let x = self.belonging(a, false);
        let n = self.animal();
        if self.rng.chance(0.5) {
            self.tell(Act::Use, &[(A, a), (X, x), (P, self.here)]);
        }
        self.tell(Act::Take, &[(N, n), (X, x)]);
        self.heart();
        self.feel(Act::Angry, a);
        let place = self.place(&[self.here]);
        self.here = place;
        self.tell(Act::Chase, &[(A, a), (N, n), (P, place)]);
        self.scene(0.3);
        if self.rng.chance(0.6) {
            let food = self.treat();
            self.tell(Act::Feed, &[(A, a), (N, n), (Y, food)]);
        }
        if self.rng.chance(0.7) {
            self.tell(Act::Recover, &[(A, a), (N, n), (X, x)]);
            self.outcome();
            self.feel(Act::Happy, a);
            Mood::Positive
        } else {
            self.tell(Act::Escape, &[(A, a), (N, n), (X, x)]);
            self.outcome();
            self.owners.remove(&x);
            Mood::Negative
        }
    }

    pub(super) fn gift(&mut self, a: Id) -> Mood {
        let b = self.anyone(&[a]);
        self.meet(a, b);
        let x = self.belonging(b, false);
        self.tell(Act::Want, &[(A, a), (X, x)]);
        self.heart();
        self.tell(Act::Beg, &[(A, a), (B, b), (X, x)]);
        if self.rng.chance(0.6) {
            self.tell(Act::Give, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            self.owners.insert(x, a);
            self.thank(a, b);
            Mood::Positive
        } else {
            self.tell(Act::Refuse, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            self.feel(Act::Sad, a);
            Mood::Negative
        }
    }

    pub(super) fn trade(&mut self, a: Id) -> Mood {
        let x = self.belonging(a, false);
        let b = self.anyone(&[a]);
        self.meet(a, b);
        let y = self.belonging(b, false);
        self.tell(Act::Want, &[(A, a), (X, y)]);
        self.tell(Act::Offer, &[(A, a), (B, b), (X, x), (Y, y)]);
        self.heart();
        if self.rng.chance(0.7) {
            self.tell(Act::Swap, &[(A, a), (B, b), (X, x), (Y, y)]);
            self.outcome();
            self.owners.insert(x, b);
            self.owners.insert(y, a);
            Mood::Positive
        } else {
            self.tell(Act::Refuse, &[(A, a), (B, b), (X, y)]);
            self.outcome();
            Mood::Negative
        }
    }

    pub(super) fn purchase(&mut self, a: Id) -> Mood {
        let x = self.treasure(false);
        let b = self.other(true, &[a]);
        self.tell(Act::Want, &[(A, a), (X, x)]);
        self.heart();
        let price = self.count(3, 9);
        self.tell(Act::Price, &[(B, b), (X, x), (K, price)]);
        if self.rng.chance(0.6) {
            self.tell(Act::Poor, &[(A, a)]);
            self.feel(Act::Sad, a);
            let work = self.place(&[self.here]);
            self.here = work;
            self.tell(Act::Work, &[(A, a), (P, work)]);
            self.tell(Act::Earn, &[(A, a), (K, price)]);
            if self.rng.chance(0.35) {
                self.tell(Act::Sold, &[(A, a), (B, b), (X, x)]);
                self.outcome();
                return Mood::Negative;
            }
        }
        self.tell(Act::Buy, &[(A, a), (B, b), (X, x)]);
        self.outcome();
        self.owners.insert(x, a);
        Mood::Positive
    }

    pub(super) fn repair(&mut self, a: Id) -> Mood {
        let x = self.belonging(a, true);
        self.tell(Act::Break, &[(A, a), (X, x), (P, self.here)]);
        self.heart();
        self.feel(Act::Sad, a);
        let b = self.other(true, &[a]);
        self.tell(Act::Plead, &[(A, a), (B, b), (X, x)]);
        if self.rng.chance(0.3) {
            self.tell(Act::Ruined, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            self.owners.remove(&x);
            return Mood::Negative;
        }
        let y = self.tool();
        self.tell(Act::Need, &[(B, b), (Y, y)]);
        let shed = self.place(&[self.here]);
        self.tell(Act::Fetch, &[(A, a), (Y, y), (P, shed)]);
        self.tell(Act::Repair, &[(B, b), (X, x), (Y, y)]);
        self.outcome();
        self.thank(a, b);
        Mood::Positive
    }

    pub(super) fn lending(&mut self, a: Id) -> Mood {
        let x = self.belonging(a, false);
        let b = self.other(false, &[a]);
        self.meet(a, b);
        self.tell(Act::Lend, &[(A, a), (B, b), (X, x)]);
        self.heart();
        self.tell(Act::Promise, &[(B, b), (X, x)]);
        if self.rng.chance(0.6) {
            self.tell(Act::Wait, &[(A, a)]);
        }
        if self.rng.chance(0.6) {
            self.tell(Act::Return, &[(A, a), (B, b), (X, x)]);
            self.outcome();
            if self.rng.chance(0.5) { Mood::Positive } else { Mood::Neutral }
        } else {
            let place = self.place(&[self.here]);
            self.tell(Act::Break, &[(A, b), (X, x), (P, place)]);
            self.outcome();
            self.owners.remove(&x);
            self.tell(Act::Sorry, &[(A, b), (B, a)]);
            Mood::Negative
        }
    }
}
