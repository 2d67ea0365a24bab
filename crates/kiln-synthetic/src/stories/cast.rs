//! Who and what comes into a story: people, animals and things it does not have yet.

use super::{
    event::{Entity, Id},
    lexicon::{Names, Noun, Spot, Word},
    simulation::Simulation,
};
use kiln_datasets::draw::Draw as _;

impl Simulation<'_> {
    pub fn add(&mut self, entity: Entity) -> Id {
        self.entities.push(entity);
        self.entities.len() - 1
    }

    /// A name nobody and nothing of that kind has yet.
    fn name(&mut self, names: &Names, taken: impl Fn(&Entity, &Word) -> bool) -> Word {
        let mut word = Word::default();
        for _ in 0..100 {
            word = Word {
                english: self.pick(&names.english, &String::new()).clone(),
                chinese: self.pick(&names.chinese, &String::new()).clone(),
            };
            if !self.entities.iter().any(|entity| taken(entity, &word)) {
                break;
            }
        }
        word
    }

    fn person(&mut self, label: Option<Word>, adult: bool) -> Id {
        let girl = self.rng.chance(0.5);
        let names = if girl { &self.lexicon.girls } else { &self.lexicon.boys };
        let name = self.name(names, |entity, word| match entity {
            Entity::Person { name, .. } => {
                name.english == word.english || name.chinese == word.chinese
            }
            Entity::Animal { name: Some(name), .. } => name.english == word.english,
            _ => false,
        });
        self.add(Entity::Person { name, girl, label, adult })
    }

    /// The child the story is about.
    pub fn child(&mut self) -> Id {
        self.person(None, false)
    }

    /// Another person than these, perhaps one who was in the story before.
    pub fn other(&mut self, adult: bool, not: &[Id]) -> Id {
        let known: Vec<Id> = self
            .entities
            .iter()
            .enumerate()
            .filter(|(id, entity)| {
                let fits = matches!(entity, Entity::Person { adult: a, .. } if *a == adult);
                fits && *id > 0 && !not.contains(id)
            })
            .map(|(id, _)| id)
            .collect();
        if !known.is_empty() && self.rng.chance(0.5) {
            return *self.pick(&known, &0);
        }
        let labels = if adult { &self.shelf.trades } else { &self.lexicon.friends };
        let taken = |word: &Word| {
            let same = |entity: &Entity| matches!(entity, Entity::Person { label: Some(label), .. } if label == word);
            adult && self.entities.iter().any(same)
        };
        let free: Vec<Word> = labels.iter().filter(|word| !taken(word)).cloned().collect();
        let label = free.get(self.rng.below(free.len())).or(labels.first()).cloned();
        self.person(label, adult)
    }

    /// Either a child or a grown-up.
    pub fn anyone(&mut self, not: &[Id]) -> Id {
        let adult = self.rng.chance(0.4);
        self.other(adult, not)
    }

    /// A thing of a kind that the story does not have yet.
    fn thing(&mut self, nouns: &[Noun], described: bool) -> Id {
        let mut noun = Noun::default();
        for _ in 0..100 {
            noun = self.pick(nouns, &Noun::default()).clone();
            let same = |entity: &Entity| matches!(entity, Entity::Thing { noun: n, .. } if n.word == noun.word);
            if !self.entities.iter().any(same) {
                break;
            }
        }
        let draw = if described { self.rng.unit() } else { 1.0 };
        let (adjective, coloured) = if draw < 0.65 {
            (Some(self.pick(&self.lexicon.colours, &Word::default()).clone()), true)
        } else if draw < 0.85 {
            (Some(self.pick(&self.lexicon.qualities, &Word::default()).clone()), false)
        } else {
            (None, false)
        };
        self.add(Entity::Thing { noun, adjective, coloured, name: None })
    }

    /// A small thing; one that can be mended if `sturdy`.
    pub fn treasure(&mut self, sturdy: bool) -> Id {
        let shelf = self.shelf;
        if sturdy || self.rng.chance(0.6) {
            self.thing(&shelf.own, true)
        } else {
            self.thing(&shelf.keepsakes, true)
        }
    }

    pub fn tool(&mut self) -> Id {
        let described = self.rng.chance(0.5);
        self.thing(&self.shelf.tools, described)
    }

    pub fn load(&mut self) -> Id {
        self.thing(&self.shelf.loads, false)
    }

    pub fn parcel(&mut self) -> Id {
        self.thing(&self.shelf.parcels, false)
    }

    pub fn food(&mut self) -> Id {
        self.thing(&self.shelf.foods, false)
    }

    pub fn treat(&mut self) -> Id {
        self.thing(&self.shelf.treats, false)
    }

    pub fn dish(&mut self) -> Id {
        self.thing(&self.shelf.dishes, false)
    }

    pub fn prize(&mut self) -> Id {
        self.thing(&self.shelf.prizes, true)
    }

    /// A boat with a name.
    pub fn boat(&mut self) -> Id {
        let id = self.thing(&self.shelf.boats, true);
        let given = self.name(&self.lexicon.boats, |_, _| false);
        if let Some(Entity::Thing { name, .. }) = self.entities.get_mut(id) {
            *name = Some(given);
        }
        id
    }

    /// An animal; half of them have a name.
    pub fn animal(&mut self) -> Id {
        let mut species = Word::default();
        for _ in 0..100 {
            species = self.pick(&self.shelf.animals, &Word::default()).clone();
            let same = |e: &Entity| matches!(e, Entity::Animal { species: s, .. } if *s == species);
            if !self.entities.iter().any(same) {
                break;
            }
        }
        let name = self.rng.chance(0.5).then(|| {
            self.name(&self.lexicon.animals, |entity, word| {
                matches!(entity, Entity::Person { name, .. } | Entity::Animal { name: Some(name), .. } if name.english == word.english)
            })
        });
        let colour = self.pick(&self.lexicon.coats, &Word::default()).clone();
        self.add(Entity::Animal { species, name, colour })
    }

    /// From two to ten.
    pub fn count(&mut self, from: usize, to: usize) -> Id {
        let range = self.lexicon.numbers.get(from.saturating_sub(2)..to.saturating_sub(1));
        let range = range.unwrap_or_default();
        let place = self.rng.below(range.len());
        let word = range.get(place).cloned().unwrap_or_default();
        self.add(Entity::Count { word, value: (from + place) as u32 })
    }

    /// Somebody or something new that could stand where `id` does; `id` where there is no other.
    pub fn stranger(&mut self, id: Id) -> Id {
        let shelf = self.shelf;
        match self.entities.get(id).cloned() {
            Some(Entity::Person { label, adult, .. }) => self.person(label, adult),
            Some(Entity::Animal { .. }) => self.animal(),
            Some(Entity::Place(_)) => {
                let entities = &self.entities;
                let known = |spot: &Spot| entities.contains(&Entity::Place(spot.clone()));
                let free: Vec<&Spot> = shelf.places.iter().filter(|spot| !known(spot)).collect();
                let spot = free.get(self.rng.below(free.len())).copied().cloned();
                spot.map_or(id, |spot| self.add(Entity::Place(spot)))
            }
            Some(Entity::Count { value, .. }) => {
                let free = |word: &Word, n: usize| (word.clone(), n as u32 + 2);
                let all = self.lexicon.numbers.iter().enumerate().map(|(n, word)| free(word, n));
                let others: Vec<(Word, u32)> = all.filter(|(_, v)| *v != value).collect();
                let (word, value) = self.pick(&others, &(Word::default(), 0)).clone();
                self.add(Entity::Count { word, value })
            }
            Some(Entity::Thing { noun, adjective, name, .. }) => {
                if name.is_some() {
                    return self.boat();
                }
                let lists = [
                    &shelf.own,
                    &shelf.keepsakes,
                    &shelf.tools,
                    &shelf.loads,
                    &shelf.parcels,
                    &shelf.foods,
                    &shelf.treats,
                    &shelf.dishes,
                    &shelf.prizes,
                ];
                let holds = |list: &&&Vec<Noun>| list.iter().any(|n| n.word == noun.word);
                let list = lists.iter().find(holds).copied().unwrap_or(&shelf.own);
                self.thing(list, adjective.is_some())
            }
            None => id,
        }
    }
}
