//! Weighted mixtures of sources.
//!
//! Positions come in blocks. In each, every source has as many positions as its weight says, by
//! largest remainder, and what a block owes a source is carried to the next; the order inside a
//! block is shuffled. So shares hold over any stretch of a run, which drawing by chance would not
//! give, and a position alone decides what it gets: resuming needs no saved state.

use crate::{Rng, Sampler, Seed, Size, Source};
use rand::seq::SliceRandom as _;
use std::sync::Mutex;

/// Positions of a block.
const BLOCK: u64 = 256;

/// Blocks between states that are kept, so that going back need not begin again.
const KEPT: u64 = 1024;

/// All weights together, as an integer: sums of integers do not drift.
const WHOLE: i64 = 1 << 40;

/// Weights from a position on.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The first position.
    pub from: u64,
    /// A weight for each source, none below zero; only their ratios count.
    pub weights: Vec<f64>,
}

/// Why a mixture makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixtureError {
    /// No phase, or none that begins at 0.
    #[error("the first phase of a mixture must begin at position 0, found {0:?}")]
    Start(Option<u64>),
    /// Phases out of order.
    #[error("phases of a mixture must begin one after another; {second} follows {first}")]
    Order {
        /// Where one begins.
        first: u64,
        /// Where the next does.
        second: u64,
    },
    /// Another number of weights than of sources.
    #[error("the phase from {from} has {found} weights, the mixture has {expected} sources")]
    Weights {
        /// Where the phase begins.
        from: u64,
        /// Sources.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// A weight that is none.
    #[error("the phase from {from} has the weight {weight}; expected numbers from 0 on, not all 0")]
    Weight {
        /// Where the phase begins.
        from: u64,
        /// The weight.
        weight: f64,
    },
    /// A source without examples that has a weight.
    #[error("source {0} of the mixture is empty")]
    Empty(usize),
}

/// Which source each position gets, and which position of that source's own.
#[derive(Debug)]
pub struct MixtureSchedule {
    phases: Vec<Plan>,
    seed: Seed,
    /// The block looked at last.
    last: Mutex<Option<Block>>,
}

/// A phase, ready to be walked through.
#[derive(Debug)]
struct Plan {
    from: u64,
    /// What each source is owed a position; together [`WHOLE`].
    weights: Vec<i64>,
    /// Positions that each source had before the phase.
    before: Vec<u64>,
    /// States at the begin of blocks 0, [`KEPT`], ...
    kept: Mutex<Vec<State>>,
}

/// What is known at the begin of a block.
#[derive(Clone, Debug)]
struct State {
    /// Positions that each source had in the phase.
    counts: Vec<u64>,
    /// What each is still owed, in units of a position over [`WHOLE`]; together 0.
    owed: Vec<i64>,
}

/// The order of a block.
#[derive(Debug)]
struct Block {
    phase: usize,
    index: u64,
    /// The source of each position, and the position of that source's own.
    order: Vec<(usize, u64)>,
}

impl MixtureSchedule {
    /// A mixture of `sources` sources, whose weights change from phase to phase.
    ///
    /// # Errors
    /// When phases do not begin at 0 and one after another, and when weights are not what they
    /// should be.
    pub fn new(sources: usize, phases: &[Phase], seed: Seed) -> Result<Self, MixtureError> {
        let first = phases.first().map(|phase| phase.from);
        if first != Some(0) {
            return Err(MixtureError::Start(first));
        }
        let seed = seed.part("mixture");
        let mut mixture = Self { phases: Vec::new(), seed, last: Mutex::new(None) };
        for (at, phase) in phases.iter().enumerate() {
            let weights = shares(phase, sources)?;
            let before = match mixture.phases.last() {
                None => vec![0; sources],
                Some(last) if last.from >= phase.from => {
                    let (first, second) = (last.from, phase.from);
                    return Err(MixtureError::Order { first, second });
                }
                Some(last) => mixture.counts(at - 1, phase.from - last.from),
            };
            let start = State { counts: vec![0; sources], owed: vec![0; sources] };
            let kept = Mutex::new(vec![start]);
            mixture.phases.push(Plan { from: phase.from, weights, before, kept });
        }
        Ok(mixture)
    }

    /// The source of a position, and the position of that source's own that it is: how often it came
    /// before.
    pub fn at(&self, position: u64) -> (usize, u64) {
        let phase = self.phases.partition_point(|phase| phase.from <= position).saturating_sub(1);
        let from = self.phases.get(phase).map_or(0, |phase| phase.from);
        let (index, offset) = ((position - from) / BLOCK, (position - from) % BLOCK);
        let mut last = match self.last.lock() {
            Ok(last) => last,
            // Another thread panicked: what it left is overwritten below.
            Err(poisoned) => poisoned.into_inner(),
        };
        if last.as_ref().is_none_or(|block| (block.phase, block.index) != (phase, index)) {
            let order = self.order(phase, index);
            *last = Some(Block { phase, index, order });
        }
        let place = last.as_ref().and_then(|block| block.order.get(offset as usize));
        // A block has an entry for each of its offsets.
        place.copied().unwrap_or_default()
    }

    /// The order of a block of a phase.
    fn order(&self, phase: usize, index: u64) -> Vec<(usize, u64)> {
        let Some(plan) = self.phases.get(phase) else { return Vec::new() };
        let state = plan.state(index);
        let mut order: Vec<usize> = Vec::with_capacity(BLOCK as usize);
        for (source, quota) in plan.next(&state).1.into_iter().enumerate() {
            order.extend(std::iter::repeat_n(source, quota as usize));
        }
        let mut rng: Rng = self.seed.at(phase as u64).at(index).rng();
        order.shuffle(&mut rng);
        let mut counts: Vec<u64> =
            state.counts.iter().zip(&plan.before).map(|(now, before)| now + before).collect();
        let count = |source: usize| {
            let count = counts.get_mut(source).map_or(0, |count| {
                *count += 1;
                *count - 1
            });
            (source, count)
        };
        order.into_iter().map(count).collect()
    }

    /// How often each source came before a position of a phase, counted from the phase's begin.
    fn counts(&self, phase: usize, positions: u64) -> Vec<u64> {
        let Some(plan) = self.phases.get(phase) else { return Vec::new() };
        let index = positions / BLOCK;
        let counts = plan.state(index).counts;
        let mut counts: Vec<u64> =
            counts.iter().zip(&plan.before).map(|(now, before)| now + before).collect();
        for (source, _) in self.order(phase, index).into_iter().take((positions % BLOCK) as usize) {
            if let Some(count) = counts.get_mut(source) {
                *count += 1;
            }
        }
        counts
    }
}

impl Plan {
    /// The state at the begin of a block.
    fn state(&self, index: u64) -> State {
        let mut kept = match self.kept.lock() {
            Ok(kept) => kept,
            // States are only ever appended whole.
            Err(poisoned) => poisoned.into_inner(),
        };
        let nearest = (index / KEPT).min(kept.len() as u64 - 1);
        let mut state = kept[nearest as usize].clone();
        for block in nearest * KEPT..index {
            state = self.next(&state).0;
            if (block + 1) % KEPT == 0 && (block + 1) / KEPT == kept.len() as u64 {
                kept.push(state.clone());
            }
        }
        state
    }

    /// The state behind a block, and how many of its positions each source has.
    fn next(&self, state: &State) -> (State, Vec<u64>) {
        let block = BLOCK as i64;
        let owed = state.owed.iter().zip(&self.weights);
        let mut owed: Vec<i64> = owed.map(|(owed, weight)| owed + weight * block).collect();
        let mut quotas: Vec<u64> = owed.iter().map(|owed| (owed / WHOLE).max(0) as u64).collect();
        for (owed, quota) in owed.iter_mut().zip(&quotas) {
            *owed -= *quota as i64 * WHOLE;
        }
        // What is left of the block goes to whom most is owed; sources that had too much before may
        // make it that some must wait instead.
        let mut given: i64 = quotas.iter().map(|quota| *quota as i64).sum();
        while given != block {
            let more = given < block;
            let sources = (0..owed.len())
                .filter(|s| if more { self.weights[*s] > 0 } else { quotas[*s] > 0 });
            // The first of equals.
            let source = if more {
                sources.rev().max_by_key(|source| owed[*source])
            } else {
                sources.min_by_key(|source| owed[*source])
            };
            let Some(source) = source else { break };
            if more {
                (quotas[source], owed[source]) = (quotas[source] + 1, owed[source] - WHOLE);
                given += 1;
            } else {
                (quotas[source], owed[source]) = (quotas[source] - 1, owed[source] + WHOLE);
                given -= 1;
            }
        }
        let counts = state.counts.iter().zip(&quotas).map(|(count, quota)| count + quota).collect();
        (State { counts, owed }, quotas)
    }
}

/// Weights as integers that sum to [`WHOLE`].
fn shares(phase: &Phase, sources: usize) -> Result<Vec<i64>, MixtureError> {
    let Phase { from, weights } = phase;
    let from = *from;
    if weights.len() != sources || sources == 0 {
        let (expected, found) = (sources, weights.len());
        return Err(MixtureError::Weights { from, expected, found });
    }
    let wrong = |weight: &&f64| !weight.is_finite() || **weight < 0.0;
    let total: f64 = weights.iter().sum();
    if let Some(weight) = weights.iter().find(wrong) {
        return Err(MixtureError::Weight { from, weight: *weight });
    }
    if total <= 0.0 || !total.is_finite() {
        return Err(MixtureError::Weight { from, weight: total });
    }
    let share = |weight: &f64| (weight / total * WHOLE as f64).floor() as i64;
    let mut shares: Vec<i64> = weights.iter().map(share).collect();
    let left = WHOLE - shares.iter().sum::<i64>();
    // Rounding leaves a few units of 1e-12: the largest share does not notice.
    if let Some(largest) = shares.iter_mut().max() {
        *largest += left;
    }
    Ok(shares)
}

/// Sources mixed by weight, each walked through in its own order, epoch after epoch. Endless.
#[derive(Debug)]
pub struct MixtureSource<S> {
    sources: Vec<(S, Sampler)>,
    mixture: MixtureSchedule,
    /// Positions in a row that are of one source.
    run: u64,
}

impl<S: Source> MixtureSource<S> {
    /// Mixes sources; each is shuffled again for each of its epochs.
    ///
    /// # Errors
    /// As [`MixtureSchedule::new`], and when a source is empty.
    pub fn new(sources: Vec<S>, phases: &[Phase], seed: Seed) -> Result<Self, MixtureError> {
        if let Some(empty) = sources.iter().position(|source| source.size() == Size::Known(0)) {
            return Err(MixtureError::Empty(empty));
        }
        let mixture = MixtureSchedule::new(sources.len(), phases, seed)?;
        let orders = seed.part("sources");
        let sources = (0..).zip(sources).map(|(at, source)| {
            let sampler = Sampler::new(source.size(), Some(orders.at(at)));
            (source, sampler)
        });
        Ok(Self { sources: sources.collect(), mixture, run: 1 })
    }

    /// With so many positions in a row of one source, such as those of a batch. Shares and phases
    /// then count such runs.
    #[must_use]
    pub fn in_runs_of(mut self, positions: u64) -> Self {
        self.run = positions.max(1);
        self
    }
}

impl<S: Source> Source for MixtureSource<S> {
    type Example = S::Example;
    type Error = S::Error;

    fn size(&self) -> Size {
        Size::Endless
    }

    fn example(&self, index: u64) -> Result<Self::Example, Self::Error> {
        let (source, run) = self.mixture.at(index / self.run);
        let position = run * self.run + index % self.run;
        let (source, sampler) = &self.sources[source];
        // No source is empty, so that the sampler has an index for every position.
        source.example(sampler.index(position).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
