//! Stories by index.

use super::{
    Domain, Mood, Topic,
    event::{self, Story},
    lexicon::Lexicon,
    simulation::Simulation,
    tell::{Teller, Told, Tongue},
    template::{Grammar, read_grammar},
};
use kiln_datasets::{DataError, Result, documents::Prefix, draw::Draw as _};
use kiln_host::{Seed, Size, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// Synthetic stories: which ones are generated. Needs nothing but Kiln.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stories {
    /// Where they happen; everywhere when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// What they are about; everything when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,
    /// How many; endless without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The number of the first story: other numbers are other stories, so that training and
    /// evaluation need not meet.
    pub first: u64,
    /// Metadata prefix of each where stories are documents, of its `title`, `domain`, `topics` and
    /// `mood`: the model attends to it, but is not trained on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Prefix>,
}

/// Story with its annotations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoryDocument {
    /// A name that tells it from the others.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// The story, one paragraph.
    pub text: String,
    /// Where it happens.
    pub domain: Domain,
    /// What it is about, sorted.
    pub topics: Vec<Topic>,
    /// How it ends.
    pub mood: Mood,
    /// Its sentences, in bytes of `text`.
    pub sentences: Vec<Range<usize>>,
    /// Its words, in bytes of `text`, punctuation among them; only where no spaces part them.
    pub words: Vec<Range<usize>>,
    /// Who and what it names, in order.
    pub entities: Vec<Entity>,
}

/// Entity mention: a span of a text that names somebody or something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// What is named.
    pub kind: EntityKind,
    /// Where, in bytes.
    pub span: Range<usize>,
}

/// Entity type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntityKind {
    /// Somebody, by name.
    Person,
    /// Somewhere.
    Place,
    /// A thing, by its noun or its name.
    Thing,
    /// An animal, by its species or its name.
    Animal,
}

/// Source of stories and of tasks about them; each a function of configuration, seed and index.
#[derive(Clone, Debug)]
pub struct StorySource {
    config: Stories,
    seed: Seed,
    pub(super) lexicon: Arc<Lexicon>,
    pub(super) grammar: Arc<Grammar>,
}

/// Source of the same stories in Chinese, without spaces; [`StoryDocument::words`] says where the
/// words are.
#[derive(Clone, Debug)]
pub struct ChineseStorySource(StorySource);

impl Stories {
    /// Builds the source.
    ///
    /// # Errors
    /// When none of the topics happens in one of the domains.
    pub fn source(&self, seed: Seed) -> Result<StorySource> {
        for domain in self.domains() {
            if self.topics_of(*domain).is_empty() {
                let names: Vec<&str> = domain.topics().iter().map(|topic| topic.name()).collect();
                let found = format!("nothing that happens in `{}`", domain.name());
                let expected = format!("at least one of {}", names.join(", "));
                return Err(DataError::config("topics", found, expected));
            }
        }
        Ok(StorySource {
            config: self.clone(),
            seed: seed.part("stories"),
            lexicon: Arc::new(Lexicon::read()?),
            grammar: Arc::new(read_grammar()?),
        })
    }

    /// Builds the source of the same stories in Chinese.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn chinese(&self, seed: Seed) -> Result<ChineseStorySource> {
        self.source(seed).map(ChineseStorySource)
    }

    fn domains(&self) -> &[Domain] {
        if self.domains.is_empty() { &Domain::ALL } else { &self.domains }
    }

    fn topics_of(&self, domain: Domain) -> Vec<Topic> {
        let asked = |topic: &Topic| self.topics.is_empty() || self.topics.contains(topic);
        domain.topics().iter().copied().filter(asked).collect()
    }
}

impl StorySource {
    /// The seed of a story, or of a task made of it.
    pub(super) fn seed(&self, index: u64) -> Seed {
        self.seed.at(self.number(index))
    }

    /// The number of the story at `index`.
    pub(super) fn number(&self, index: u64) -> u64 {
        self.config.first.wrapping_add(index)
    }

    /// What happens in the story at `index`.
    pub(super) fn story(&self, index: u64) -> Story {
        let mut rng = self.seed(index).part("events").rng();
        let domains = self.config.domains();
        let domain = domains.get(rng.below(domains.len())).copied().unwrap_or(Domain::Village);
        Simulation::run(&self.lexicon, domain, &self.config.topics_of(domain), &mut rng)
    }

    /// Tells the story; another `telling` uses other words.
    pub(super) fn tell(&self, index: u64, story: &Story, telling: u64, tongue: Tongue) -> Told {
        let mut rng = self.seed(index).part("telling").at(telling).rng();
        Teller::new(story, &self.grammar, tongue, &mut rng).tell(&story.events)
    }

    /// The story at `index`.
    pub fn document(&self, index: u64) -> StoryDocument {
        self.document_in(index, Tongue::English)
    }

    pub(super) fn document_in(&self, index: u64, tongue: Tongue) -> StoryDocument {
        let story = self.story(index);
        let told = self.tell(index, &story, 0, tongue);
        let entity = |mention: &super::tell::Mention| {
            let kind = match story.entity(mention.entity)? {
                event::Entity::Person { .. } => EntityKind::Person,
                event::Entity::Place(_) => EntityKind::Place,
                event::Entity::Thing { .. } => EntityKind::Thing,
                event::Entity::Animal { .. } => EntityKind::Animal,
                event::Entity::Count { .. } => return None,
            };
            Some(Entity { kind, span: mention.span.clone() })
        };
        StoryDocument {
            id: format!("story-{}", self.number(index)),
            title: title(&story, tongue),
            entities: told.mentions.iter().filter_map(entity).collect(),
            text: told.text,
            domain: story.domain,
            topics: story.topics,
            mood: story.mood,
            sentences: told.sentences,
            words: told.words,
        }
    }
}

/// Who it is about, and the thing that matters most.
fn title(story: &Story, tongue: Tongue) -> String {
    let word = |word: &super::lexicon::Word| match tongue {
        Tongue::English => word.english.clone(),
        Tongue::Chinese => word.chinese.replace(' ', ""),
    };
    let mut hero = String::new();
    let (mut thing, mut place) = (None, String::new());
    for entity in &story.entities {
        match entity {
            event::Entity::Person { name, .. } if hero.is_empty() => hero = word(name),
            event::Entity::Thing { noun, .. } if thing.is_none() => thing = Some(word(&noun.word)),
            event::Entity::Place(spot) if place.is_empty() => {
                place = match tongue {
                    Tongue::English if spot.named() => spot.english.clone(),
                    Tongue::English => format!("the {}", spot.english),
                    Tongue::Chinese => spot.chinese.clone(),
                };
            }
            _ => {}
        }
    }
    match (thing, tongue) {
        (Some(thing), Tongue::English) => format!("{hero} and the {thing}"),
        (Some(thing), Tongue::Chinese) => format!("{hero}和{thing}"),
        (None, Tongue::English) => format!("{hero} and {place}"),
        (None, Tongue::Chinese) => format!("{hero}和{place}"),
    }
}

impl Source for StorySource {
    type Example = StoryDocument;
    type Error = DataError;

    fn size(&self) -> Size {
        self.config.size.map_or(Size::Endless, Size::Known)
    }

    fn example(&self, index: u64) -> Result<StoryDocument> {
        Ok(self.document(index))
    }
}

impl ChineseStorySource {
    /// The story at `index`.
    pub fn document(&self, index: u64) -> StoryDocument {
        self.0.document_in(index, Tongue::Chinese)
    }
}

impl Source for ChineseStorySource {
    type Example = StoryDocument;
    type Error = DataError;

    fn size(&self) -> Size {
        self.0.size()
    }

    fn example(&self, index: u64) -> Result<StoryDocument> {
        Ok(self.document(index))
    }
}
