//! The world of a story while it happens: who is where, who has what.

use super::{
    Domain, Mood, Topic,
    event::{Act, Entity, Event, Id, Role, Story},
    lexicon::{Lexicon, Shelf},
};
use kiln_datasets::draw::Draw as _;
use kiln_host::Rng;
use std::collections::BTreeMap;

/// A story in the making.
pub(super) struct Simulation<'a> {
    pub lexicon: &'a Lexicon,
    pub shelf: &'a Shelf,
    pub rng: &'a mut Rng,
    pub entities: Vec<Entity>,
    pub events: Vec<Event>,
    /// Where the first child is.
    pub here: Id,
    /// Who has which thing.
    pub owners: BTreeMap<Id, Id>,
    /// What the plot that runs is about, as places in `events`: its heart and its end.
    pub plots: Vec<[usize; 2]>,
}

impl<'a> Simulation<'a> {
    /// A whole story about some of `topics`.
    pub fn run(lexicon: &'a Lexicon, domain: Domain, topics: &[Topic], rng: &'a mut Rng) -> Story {
        let shelf = lexicon.shelf(domain);
        let mut world = Self {
            lexicon,
            shelf,
            rng,
            entities: Vec::new(),
            events: Vec::new(),
            here: 0,
            owners: BTreeMap::new(),
            plots: Vec::new(),
        };
        let hero = world.child();
        world.here = world.place(&[]);
        world.tell(Act::Morning, &[(Role::A, hero), (Role::P, world.here)]);
        world.scene(0.5);
        if world.rng.chance(0.5) {
            let weather = *world.pick(&[Act::Sun, Act::Rain, Act::Wind, Act::Fog], &Act::Sun);
            world.tell(weather, &[]);
        }
        let mut told = Vec::new();
        let mut mood = Mood::Neutral;
        let count = if world.rng.chance(0.65) { 2 } else { 1 };
        for place in 0..3 {
            // Short plots do not stand alone.
            if place >= count && world.events.len() >= 10 {
                break;
            }
            let fresh: Vec<Topic> =
                topics.iter().copied().filter(|topic| !told.contains(topic)).collect();
            let Some(topic) = fresh.get(world.rng.below(fresh.len())).copied() else { break };
            if place > 0 {
                let next = world.place(&[world.here]);
                world.here = next;
                world.tell(Act::Later, &[(Role::A, hero), (Role::P, next)]);
                world.scene(0.3);
            }
            told.push(topic);
            mood = world.plot(topic, hero);
        }
        world.recap(0.4);
        let end = match mood {
            Mood::Positive => Act::Glad,
            Mood::Negative => Act::Gloomy,
            Mood::Neutral => Act::Evening,
        };
        world.tell(end, &[(Role::A, hero)]);
        told.sort_unstable();
        let Self { entities, events, plots, .. } = world;
        Story { domain, topics: told, mood, entities, events, plots }
    }

    /// The world of a story that is over, to add to it.
    pub fn around(lexicon: &'a Lexicon, story: &Story, rng: &'a mut Rng) -> Self {
        Self {
            lexicon,
            shelf: lexicon.shelf(story.domain),
            rng,
            entities: story.entities.clone(),
            events: Vec::new(),
            here: 0,
            owners: BTreeMap::new(),
            plots: Vec::new(),
        }
    }

    pub fn tell(&mut self, act: Act, roles: &[(Role, Id)]) {
        self.events.push(Event::new(act, roles));
    }

    /// Remembers what a plot was about: its heart, which was told just now.
    pub fn heart(&mut self) {
        let last = self.events.len().saturating_sub(1);
        self.plots.push([last, last]);
    }

    /// Remembers how the plot came out, which was told just now.
    pub fn outcome(&mut self) {
        let last = self.events.len().saturating_sub(1);
        if let Some([_, end]) = self.plots.last_mut() {
            *end = last;
        }
    }

    /// One of `list`, each as likely as another.
    pub fn pick<'b, T>(&mut self, list: &'b [T], otherwise: &'b T) -> &'b T {
        list.get(self.rng.below(list.len())).unwrap_or(otherwise)
    }

    /// Perhaps a sentence about where the story is.
    pub fn scene(&mut self, probability: f64) {
        let scene = Event::new(Act::Scene, &[(Role::P, self.here)]);
        if self.rng.chance(probability) && !self.events.contains(&scene) {
            self.events.push(scene);
        }
    }

    /// Perhaps who has one of the things in the end.
    fn recap(&mut self, probability: f64) {
        let owned: Vec<(Id, Id)> = self.owners.iter().map(|(x, a)| (*x, *a)).collect();
        if !owned.is_empty() && self.rng.chance(probability) {
            let (thing, owner) = *self.pick(&owned, &(0, 0));
            let keep = Event::new(Act::Keep, &[(Role::A, owner), (Role::X, thing)]);
            if !self.events.contains(&keep) {
                self.events.push(keep);
            }
        }
    }

    /// Perhaps a feeling.
    pub fn feel(&mut self, act: Act, who: Id) {
        if self.rng.chance(0.6) {
            self.tell(act, &[(Role::A, who)]);
        }
    }

    /// A place other than these; mostly a new one.
    pub fn place(&mut self, not: &[Id]) -> Id {
        let at = |entities: &[Entity], english: &str| {
            entities.iter().position(|e| matches!(e, Entity::Place(s) if s.english == english))
        };
        for _ in 0..100 {
            let Some(spot) = self.shelf.places.get(self.rng.below(self.shelf.places.len())) else {
                break;
            };
            match at(&self.entities, &spot.english) {
                Some(known) if not.contains(&known) => {}
                Some(known) => return known,
                None => return self.add(Entity::Place(spot.clone())),
            }
        }
        self.here
    }

    /// A place with water, another than these.
    pub fn water(&mut self, not: &[Id]) -> Id {
        for _ in 0..100 {
            let place = self.place(not);
            if let Some(Entity::Place(spot)) = self.entities.get(place)
                && self.shelf.waters.contains(&spot.english)
            {
                return place;
            }
        }
        self.here
    }

    /// Moves the first child to another place than these, and tells so.
    pub fn walk(&mut self, who: Id, not: &[Id]) -> Id {
        let mut avoid = not.to_vec();
        avoid.push(self.here);
        let next = self.place(&avoid);
        self.walk_to(who, next);
        next
    }

    /// Moves the first child there, and tells so.
    pub fn walk_to(&mut self, who: Id, place: Id) {
        if self.here != place {
            self.here = place;
            self.tell(Act::Go, &[(Role::A, who), (Role::P, place)]);
        }
    }

    /// A thing `who` has, perhaps from earlier in the story; a new one is told of.
    pub fn belonging(&mut self, who: Id, sturdy: bool) -> Id {
        let shelf = self.shelf;
        let has = |(thing, owner): (&Id, &Id)| (*owner == who).then_some(*thing);
        let mendable = |id: &Id| match self.entities.get(*id) {
            Some(Entity::Thing { noun, .. }) => shelf.own.iter().any(|n| n.word == noun.word),
            _ => false,
        };
        let kept: Vec<Id> =
            self.owners.iter().filter_map(has).filter(|id| !sturdy || mendable(id)).collect();
        if !kept.is_empty() && self.rng.chance(0.7) {
            return *self.pick(&kept, &0);
        }
        let thing = self.treasure(sturdy);
        self.owners.insert(thing, who);
        self.tell(Act::Own, &[(Role::A, who), (Role::X, thing)]);
        thing
    }
}
