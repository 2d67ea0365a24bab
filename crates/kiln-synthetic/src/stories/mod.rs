//! Stories without a download: a small simulated world, told by a grammar.
//!
//! Children lose things and find them, lend, quarrel, sail, cook and study, in one of four
//! [`Domain`]s. The stories are as small as those of TinyStories
//! (<https://arxiv.org/abs/2305.07759>), but made by rules of our own, so that everything that
//! could be asked about one is known: [`StorySource`] gives texts, and the tasks to learn from them
//! with exact labels. A story is a function of seed and index.

mod cast;
mod chinese;
mod english;
mod event;
mod lexicon;
mod narrate;
mod plot;
mod simulation;
mod source;
mod tasks;
mod tell;
mod template;
#[cfg(test)]
mod tests;

pub use source::{ChineseStorySource, Entity, EntityKind, Stories, StoryDocument, StorySource};
pub use tasks::{Fact, StoryLabel, TAVI};

use kiln_datasets::DataError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Story domain: each has places, things, trades and plots of its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// Barns, mills, bakers and goats.
    Village,
    /// Boats, storms and fish.
    Harbour,
    /// Lessons, races and borrowed pens.
    School,
    /// Coins, bargains and thieving monkeys.
    Market,
}

impl Domain {
    /// Every domain.
    pub const ALL: [Self; 4] = [Self::Village, Self::Harbour, Self::School, Self::Market];

    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Village => "village",
            Self::Harbour => "harbour",
            Self::School => "school",
            Self::Market => "market",
        }
    }

    /// What happens there.
    pub fn topics(self) -> &'static [Topic] {
        use Topic::*;
        match self {
            Self::Village => &[Lost, Animals, Gift, Help, Repair, Cooking, Quarrel, Errand],
            Self::Harbour => &[Voyage, Fishing, Lost, Repair, Help, Trade],
            Self::School => &[Contest, Lesson, Lending, Quarrel, Lost, Animals],
            Self::Market => &[Purchase, Trade, Animals, Cooking, Gift, Errand],
        }
    }
}

/// Story topic.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// A thing is lost and looked for.
    Lost,
    /// An animal makes off with a thing.
    Animals,
    /// Somebody asks for a thing.
    Gift,
    /// Somebody carries too much.
    Help,
    /// One thing for another.
    Trade,
    /// A thing for coins.
    Purchase,
    /// Two children want the same.
    Quarrel,
    /// A thing breaks.
    Repair,
    /// A dish and what belongs in it.
    Cooking,
    /// A race.
    Contest,
    /// A thing is lent.
    Lending,
    /// By boat, perhaps through a storm.
    Voyage,
    /// Something has to be brought to somebody.
    Errand,
    /// With a line.
    Fishing,
    /// Learning for a test.
    Lesson,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 15] = [
        Self::Lost,
        Self::Animals,
        Self::Gift,
        Self::Help,
        Self::Trade,
        Self::Purchase,
        Self::Quarrel,
        Self::Repair,
        Self::Cooking,
        Self::Contest,
        Self::Lending,
        Self::Voyage,
        Self::Errand,
        Self::Fishing,
        Self::Lesson,
    ];

    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Animals => "animals",
            Self::Gift => "gift",
            Self::Help => "help",
            Self::Trade => "trade",
            Self::Purchase => "purchase",
            Self::Quarrel => "quarrel",
            Self::Repair => "repair",
            Self::Cooking => "cooking",
            Self::Contest => "contest",
            Self::Lending => "lending",
            Self::Voyage => "voyage",
            Self::Errand => "errand",
            Self::Fishing => "fishing",
            Self::Lesson => "lesson",
        }
    }
}

/// Story sentiment: how it ends for the child it is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mood {
    /// Well.
    Positive,
    /// Badly.
    Negative,
    /// The day is over, no more.
    Neutral,
}

impl Mood {
    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Neutral => "neutral",
        }
    }
}

/// A mistake in an embedded file.
fn fault(name: &str, error: toml::de::Error) -> DataError {
    DataError::Line { path: Path::new(name).into(), line: 1, reason: error.message().to_owned() }
}
