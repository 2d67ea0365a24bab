//! What happens in a story, and to whom.

use super::lexicon::{Noun, Spot, Word};
use super::{Domain, Mood, Topic};
use serde::Deserialize;
use std::collections::BTreeSet;

/// What a sentence of a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Act {
    Morning,
    Sun,
    Rain,
    Wind,
    Fog,
    Own,
    Use,
    Go,
    Scene,
    Drop,
    Miss,
    Search,
    Ask,
    Unseen,
    Seen,
    Find,
    Never,
    Return,
    Thank,
    Sad,
    Happy,
    Angry,
    Take,
    Chase,
    Feed,
    Recover,
    Escape,
    Want,
    Beg,
    Refuse,
    Give,
    Offer,
    Swap,
    Price,
    Poor,
    Work,
    Earn,
    Buy,
    Sold,
    Both,
    Quarrel,
    Leave,
    Sorry,
    Share,
    Sulk,
    Break,
    Plead,
    Need,
    Fetch,
    Repair,
    Ruined,
    Plan,
    Lack,
    Get,
    Cook,
    Eat,
    Burn,
    Race,
    Fall,
    Win,
    Prize,
    Practise,
    Carry,
    Help,
    Lend,
    Promise,
    Wait,
    Sail,
    Load,
    Storm,
    Shelter,
    Overboard,
    Deliver,
    Send,
    Fish,
    Catch,
    Nothing,
    Split,
    Study,
    Teach,
    Pass,
    Later,
    Meet,
    Keep,
    Glad,
    Gloomy,
    Evening,
}

/// What somebody or something is to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Who acts.
    A,
    /// The other person.
    B,
    /// A third.
    C,
    /// The animal.
    N,
    /// The thing.
    X,
    /// The other thing.
    Y,
    /// The place.
    P,
    /// How many.
    K,
}

/// A place in [`Story::entities`].
pub(super) type Id = usize;

/// Somebody or something in a story.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entity {
    Person {
        name: Word,
        girl: bool,
        /// A grown-up's trade, or what a child is to the first one.
        label: Option<Word>,
        adult: bool,
    },
    Animal {
        species: Word,
        name: Option<Word>,
        colour: Word,
    },
    Thing {
        noun: Noun,
        adjective: Option<Word>,
        /// The adjective is a colour.
        coloured: bool,
        name: Option<Word>,
    },
    Place(Spot),
    Count {
        word: Word,
        value: u32,
    },
}

impl Entity {
    /// Whether both are persons, both animals, ...
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Something that happened: its facts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub act: Act,
    /// Sorted by role.
    pub roles: Vec<(Role, Id)>,
}

impl Event {
    pub fn new(act: Act, roles: &[(Role, Id)]) -> Self {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        Self { act, roles }
    }

    /// Who or what has this role.
    pub fn get(&self, role: Role) -> Option<Id> {
        self.roles.iter().find(|(r, _)| *r == role).map(|(_, id)| *id)
    }

    /// The same as far as it has these roles.
    pub fn only(&self, roles: &BTreeSet<Role>) -> Self {
        let kept = self.roles.iter().filter(|(role, _)| roles.contains(role));
        Self { act: self.act, roles: kept.copied().collect() }
    }

    /// The same with another in this role.
    pub fn with(&self, role: Role, id: Id) -> Self {
        let swap = |&(r, old)| (r, if r == role { id } else { old });
        Self { act: self.act, roles: self.roles.iter().map(swap).collect() }
    }
}

/// A story before it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Story {
    pub domain: Domain,
    pub topics: Vec<Topic>,
    pub mood: Mood,
    pub entities: Vec<Entity>,
    pub events: Vec<Event>,
    /// The first event of each plot, with its most telling one and its end.
    pub plots: Vec<[usize; 2]>,
}

impl Story {
    pub fn entity(&self, id: Id) -> Option<&Entity> {
        self.entities.get(id)
    }

    /// The children and grown-ups.
    pub fn persons(&self) -> impl Iterator<Item = Id> + '_ {
        let person = |(_, entity): &(Id, &Entity)| matches!(entity, Entity::Person { .. });
        self.entities.iter().enumerate().filter(person).map(|(id, _)| id)
    }
}
