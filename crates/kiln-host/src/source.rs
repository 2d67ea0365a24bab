//! Where examples come from, and in which order.

use crate::Seed;
use rand::seq::SliceRandom;
use std::sync::{Arc, Mutex, PoisonError};

/// How many examples a source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// This many; indices run from zero.
    Known(u64),
    /// Any index gives an example: a generator.
    Endless,
}

/// Examples by index.
///
/// An example is a pure function of its index, so that any number of threads can read ahead and a
/// resumed run reads on exactly where it stopped.
pub trait Source: Send + Sync {
    /// What one index gives.
    type Example: Send;
    /// Why an index may give nothing.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How many there are.
    fn size(&self) -> Size;

    /// The example at `index`, which is below [`Size::Known`].
    ///
    /// # Errors
    /// When the example cannot be read or decoded.
    fn example(&self, index: u64) -> Result<Self::Example, Self::Error>;
}

impl<S: Source + ?Sized> Source for Arc<S> {
    type Example = S::Example;
    type Error = S::Error;

    fn size(&self) -> Size {
        (**self).size()
    }

    fn example(&self, index: u64) -> Result<S::Example, S::Error> {
        (**self).example(index)
    }
}

/// Orders of epochs that are kept: the one that ends, and the one that begins.
const KEPT: usize = 2;

/// The order of a run: maps the position in the run (0, 1, 2, ...) to an index of the source.
///
/// Threads that read ahead share one, also where an epoch ends and some are in the next already.
///
/// A known size is walked through in epochs, each with its own shuffle; an endless source is read
/// in order. The position alone decides, so resuming needs no saved state.
#[derive(Debug)]
pub struct Sampler {
    size: Size,
    shuffle: Option<Seed>,
    /// The epochs shuffled last, and their orders.
    epochs: Mutex<Vec<(u64, Vec<u32>)>>,
}

impl Sampler {
    /// A sampler over `size` examples, shuffled again each epoch when a seed is given.
    pub fn new(size: Size, shuffle: Option<Seed>) -> Self {
        Self { size, shuffle, epochs: Mutex::new(Vec::new()) }
    }

    /// The index of the example at `position`; `None` if the source is empty.
    pub fn index(&self, position: u64) -> Option<u64> {
        let size = match self.size {
            Size::Endless => return Some(position),
            Size::Known(0) => return None,
            Size::Known(size) => size,
        };
        let (epoch, offset) = (position / size, position % size);
        let Some(seed) = self.shuffle else {
            return Some(offset);
        };
        // What a thread leaves that panics is whole: orders come in when they are shuffled.
        let mut kept = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().all(|(kept, _)| *kept != epoch) {
            // The memory of the older one is used again.
            let mut order = if kept.len() < KEPT { Vec::new() } else { kept.remove(0).1 };
            order.clear();
            order.extend(0..size.min(u64::from(u32::MAX)) as u32);
            order.shuffle(&mut seed.at(epoch).rng());
            kept.push((epoch, order));
        }
        let (_, order) = kept.iter().find(|(kept, _)| *kept == epoch)?;
        order.get(offset as usize).map(|index| u64::from(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_each_example_once() {
        let sampler = Sampler::new(Size::Known(10), Some(Seed::new(1)));
        let mut first: Vec<_> = (0..10).filter_map(|p| sampler.index(p)).collect();
        let second: Vec<_> = (10..20).filter_map(|p| sampler.index(p)).collect();
        assert_ne!(first, second, "each epoch has its own order");
        assert_eq!(sampler.index(3), Some(first[3]), "going back gives the same order again");
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_may_be_asked_for_in_turn() {
        let shared = Sampler::new(Size::Known(5), Some(Seed::new(1)));
        for position in [4, 5, 3, 9, 10, 4, 7, 14, 0, 12] {
            let alone = Sampler::new(Size::Known(5), Some(Seed::new(1)));
            assert_eq!(shared.index(position), alone.index(position), "{position}");
            assert!(shared.epochs.lock().unwrap().len() <= KEPT);
        }
    }

    #[test]
    fn empty_and_endless() {
        assert_eq!(Sampler::new(Size::Known(0), None).index(0), None);
        assert_eq!(Sampler::new(Size::Endless, Some(Seed::new(1))).index(99), Some(99));
        assert_eq!(Sampler::new(Size::Known(3), None).index(4), Some(1));
    }
}
