//! Where examples come from, and in which order.

use crate::Seed;
use rand::seq::SliceRandom;
use std::sync::{Arc, Mutex};

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

/// The order of a run: maps the position in the run (0, 1, 2, ...) to an index of the source.
///
/// A known size is walked through in epochs, each with its own shuffle; an endless source is read
/// in order. The position alone decides, so resuming needs no saved state.
#[derive(Debug)]
pub struct Sampler {
    size: Size,
    shuffle: Option<Seed>,
    /// The epoch shuffled last, and its order.
    epoch: Mutex<Option<(u64, Vec<u32>)>>,
}

impl Sampler {
    /// A sampler over `size` examples, shuffled anew each epoch when a seed is given.
    pub fn new(size: Size, shuffle: Option<Seed>) -> Self {
        Self { size, shuffle, epoch: Mutex::new(None) }
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
        let mut cached = match self.epoch.lock() {
            Ok(cached) => cached,
            // Another thread panicked while shuffling: what it left is overwritten below.
            Err(poisoned) => poisoned.into_inner(),
        };
        if cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            let mut order: Vec<u32> = (0..size.min(u64::from(u32::MAX)) as u32).collect();
            order.shuffle(&mut seed.at(epoch).rng());
            *cached = Some((epoch, order));
        }
        cached
            .as_ref()
            .and_then(|(_, order)| order.get(offset as usize))
            .map(|index| u64::from(*index))
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
    fn empty_and_endless() {
        assert_eq!(Sampler::new(Size::Known(0), None).index(0), None);
        assert_eq!(Sampler::new(Size::Endless, Some(Seed::new(1))).index(99), Some(99));
        assert_eq!(Sampler::new(Size::Known(3), None).index(4), Some(1));
    }
}
