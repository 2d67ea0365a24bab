//! Curriculum learning: easy sequences before hard ones, by a measure of difficulty, after "Beyond
//! Random Sampling" (2025), <https://arxiv.org/abs/2506.11300>, and competence-based pacing,
//! <https://arxiv.org/abs/1903.09848>.

mod text;

use kiln_core::{Seed, Size, Source};
use kiln_lm::examples::Example;
use kiln_tokenize::{TextTokenizer, tokenizer::TokenizerError};
use kiln_train::task::{TaskSource, TaskSourceError};
use rand::RngExt as _;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A curriculum: the order of training sequences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The difficulty measure of sequences.
    pub by: Difficulty,
    /// The pacing of a curriculum.
    #[serde(default)]
    pub pace: Pace,
    /// Whether hard ones come first.
    #[serde(default)]
    pub hard_first: bool,
}

/// The difficulty measure of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// Rare tokens: the mean of minus the logarithm of each one's share of all.
    Rarity,
    /// Many different tokens, as a share of all.
    Diversity,
    /// Little that comes again: the share of three tokens in a row that were not there before. Text
    /// that can be compressed is easy.
    Novelty,
    /// Many tokens a word.
    Fertility,
    /// Long documents: tokens a document.
    Length,
    /// Text that compresses badly: bytes that `deflate` makes of a byte.
    Compression,
    /// Many different words in a row, MTLD: of texts of any length alike.
    Mtld,
    /// Long sentences and long words, by Flesch's reading ease. For English.
    Readability,
}

/// How an order is walked through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// From one end to the other.
    #[default]
    Rising,
    /// Several times from one end to the other, each time over other sequences.
    Interleaved(usize),
    /// Drawn from the first part of the order, which grows from a share to all of it over an epoch.
    Paced(Paced),
}

/// How the part of an order grows that is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paced {
    /// The share at first.
    pub from: f64,
    /// How it grows.
    #[serde(default)]
    pub growth: Growth,
}

/// How a share grows to the whole while a time goes from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// As time goes.
    #[default]
    Linear,
    /// By the square of time: late.
    Quadratic,
    /// As 1 less the square of the time left: early.
    InverseQuadratic,
}

impl Growth {
    fn at(self, time: f64) -> f64 {
        match self {
            Self::Linear => time,
            Self::Quadratic => time * time,
            Self::InverseQuadratic => 1.0 - (1.0 - time) * (1.0 - time),
        }
    }
}

impl Difficulty {
    /// How hard a sequence is; `rarity` knows how often ids are seen.
    ///
    /// # Errors
    /// When ids cannot be made text.
    fn of(
        self,
        example: &Example,
        rarity: &FxHashMap<u32, f64>,
        tokenizer: &TextTokenizer,
    ) -> Result<f64, TokenizerError> {
        let ids = &example.ids;
        let count = ids.len().max(1) as f64;
        let text = || tokenizer.decode(ids, true);
        Ok(match self {
            Self::Rarity => ids.iter().filter_map(|id| rarity.get(id)).sum::<f64>() / count,
            Self::Diversity => ids.iter().collect::<FxHashSet<_>>().len() as f64 / count,
            Self::Novelty => {
                let all = ids.windows(3).count().max(1) as f64;
                ids.windows(3).collect::<FxHashSet<_>>().len() as f64 / all
            }
            Self::Fertility => {
                let words = example.word_starts.iter().filter(|start| **start).count();
                count / words.max(1) as f64
            }
            Self::Length => count / example.documents.len().max(1) as f64,
            Self::Compression => text::compression(&text()?),
            Self::Mtld => text::mtld(&text()?),
            Self::Readability => -text::reading_ease(&text()?),
        })
    }
}

/// A source whose examples are sorted by difficulty.
pub(crate) struct Ordered {
    source: TaskSource<Example>,
    /// Indices from easy to hard, or the other way round.
    order: Vec<u64>,
    pace: Pace,
    seed: Seed,
}

impl Ordered {
    /// Looks at all examples of a source of known size.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn new(
        source: TaskSource<Example>,
        size: u64,
        order: Order,
        tokenizer: &TextTokenizer,
        seed: Seed,
    ) -> Result<Self, TaskSourceError> {
        let mut rarity: FxHashMap<u32, f64> = FxHashMap::default();
        if order.by == Difficulty::Rarity {
            let mut all = 0.0;
            for index in 0..size {
                for id in source.example(index)?.ids {
                    *rarity.entry(id).or_default() += 1.0;
                    all += 1.0;
                }
            }
            rarity.values_mut().for_each(|count| *count = -(*count / f64::max(all, 1.0)).ln());
        }
        let hard = |index| {
            let hard = order.by.of(&source.example(index)?, &rarity, tokenizer);
            hard.map(|hard| (hard, index)).map_err(|error| TaskSourceError(Box::new(error)))
        };
        let mut ranked =
            (0..size).into_par_iter().map(hard).collect::<Result<Vec<_>, TaskSourceError>>()?;
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if order.hard_first {
            ranked.reverse();
        }
        let indices = ranked.into_iter().map(|(_, index)| index).collect();
        Ok(Self { source, order: indices, pace: order.pace, seed })
    }

    /// The place in the order that is seen at this time of an epoch.
    fn place(&self, time: u64) -> u64 {
        let size = self.order.len() as u64;
        match self.pace {
            Pace::Rising => time,
            Pace::Interleaved(rounds) => {
                // Round r has the places r, r + rounds, r + 2 rounds and so on.
                let rounds = (rounds as u64).clamp(1, size.max(1));
                let (each, longer) = (size / rounds, size % rounds);
                let long = longer * (each + 1);
                let (round, step) = if time < long {
                    (time / (each + 1), time % (each + 1))
                } else {
                    (longer + (time - long) / each.max(1), (time - long) % each.max(1))
                };
                round + step * rounds
            }
            Pace::Paced(Paced { from, growth }) => {
                let gone = growth.at(time as f64 / size.max(1) as f64);
                let open = from.clamp(0.0, 1.0);
                let open = ((open + (1.0 - open) * gone) * size as f64).ceil() as u64;
                self.seed.at(time).rng().random_range(0..open.clamp(1, size.max(1)))
            }
        }
    }
}

impl Source for Ordered {
    type Example = Example;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Known(self.order.len() as u64)
    }

    fn example(&self, index: u64) -> Result<Example, TaskSourceError> {
        let place = usize::try_from(self.place(index)).unwrap_or(usize::MAX);
        let found = self.order.get(place).copied();
        self.source.example(found.unwrap_or(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Listed;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};
    use std::sync::Arc;

    fn bytes() -> TextTokenizer {
        TokenizerSpec::new(Model::Bytes {}).train([], &mut |_| {}).unwrap()
    }

    fn ordered(pace: Pace, by: Difficulty) -> Ordered {
        // The n-th has n + 1 different ids of twelve, the rarer the later.
        let example = |n: u32| Example {
            ids: (0..12).map(|at| at % (n + 1)).collect(),
            word_starts: (0..12).map(|at| at <= 9 - n).collect(),
            documents: vec![0; 10 - n as usize],
            ..Example::default()
        };
        let listed = Arc::new(Listed([3, 0, 7, 1, 9, 5, 2, 8, 4, 6].map(example).to_vec()));
        let order = Order { by, pace, hard_first: false };
        Ordered::new(listed, 10, order, &bytes(), Seed::new(1)).unwrap()
    }

    fn seen(source: &Ordered) -> Vec<usize> {
        let ids = |index| source.example(index).unwrap().ids;
        (0..10).map(|index| ids(index).iter().collect::<FxHashSet<_>>().len() - 1).collect()
    }

    #[test]
    fn from_easy_to_hard_by_every_measure() {
        let rising: Vec<usize> = (0..10).collect();
        for by in
            [Difficulty::Rarity, Difficulty::Diversity, Difficulty::Fertility, Difficulty::Length]
        {
            assert_eq!(seen(&ordered(Pace::Rising, by)), rising, "{by:?}");
        }
        // Of three in a row those that wrap around count, too, so the last ones are alike.
        assert!(seen(&ordered(Pace::Rising, Difficulty::Novelty))[..9].is_sorted());
    }

    #[test]
    fn paces() {
        let rounds = seen(&ordered(Pace::Interleaved(3), Difficulty::Diversity));
        assert_eq!(rounds, [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]);
        let paced = |growth| {
            seen(&ordered(Pace::Paced(Paced { from: 0.3, growth }), Difficulty::Diversity))
        };
        let linear = paced(Growth::Linear);
        assert!(linear.iter().enumerate().all(|(time, place)| *place <= 3 + time), "{linear:?}");
        // The draws are the same shares of less, and of more.
        let later = paced(Growth::Quadratic);
        let earlier = paced(Growth::InverseQuadratic);
        assert!(later.iter().zip(&linear).all(|(a, b)| a <= b) && later != linear, "{later:?}");
        assert!(linear.iter().zip(&earlier).all(|(a, b)| a <= b) && earlier != linear);
        assert_eq!([Growth::Quadratic.at(0.5), Growth::InverseQuadratic.at(0.5)], [0.25, 0.75]);
    }

    /// What measures of text see is the text of the ids.
    #[test]
    fn texts_from_easy_to_hard() {
        let tokenizer = bytes();
        let texts = [
            "Extraordinary considerations necessitate disproportionate deliberation concerning \
             international administrative responsibilities, notwithstanding philosophical \
             disagreements regarding constitutional interpretation among distinguished people.",
            "A cat sat. A cat sat. A cat sat. A cat sat. A cat sat. A cat sat.",
            "The cat sat on a mat and the dog sat on the cat and the mat. The dog and the cat sat \
             on the mat and a dog sat on a cat.",
        ];
        let examples = texts.map(|text| {
            let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
            Example { ids, ..Example::default() }
        });
        for by in [Difficulty::Compression, Difficulty::Mtld, Difficulty::Readability] {
            let listed = Arc::new(Listed(examples.to_vec()));
            let order = Order { by, pace: Pace::Rising, hard_first: false };
            let ordered = Ordered::new(listed, 3, order, &tokenizer, Seed::new(1)).unwrap();
            let seen = (0..3).map(|index| ordered.example(index).unwrap());
            assert!(seen.eq([1, 2, 0].map(|place| examples[place].clone())), "{by:?}");
        }
    }
}
