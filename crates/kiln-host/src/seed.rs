//! One seed, every random number.
//!
//! Generators are never carried along and saved: each use derives its own from the run's seed,
//! a label and a position. So a resumed run draws what the undisturbed one would have drawn, and
//! threads can draw in any order.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random generator that Kiln hands out.
pub type Rng = ChaCha8Rng;

/// The seed of a run, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed a user wrote.
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// The seed of a named part: `seed.part("masking")` and `seed.part("dropout")` are unrelated.
    pub fn part(self, label: &str) -> Self {
        // FNV-1a: stable across Rust versions and platforms, unlike the standard hashers.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        self.at(hash)
    }

    /// The seed of a position: a step, an example, an epoch.
    pub fn at(self, position: u64) -> Self {
        // SplitMix64's finaliser: neighbouring positions give unrelated seeds.
        let mut z =
            self.0.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    /// A generator that starts at this seed.
    pub fn rng(self) -> Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }

    /// The seed as a number, for generators that are not ours.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    #[test]
    fn same_path_same_numbers() {
        let draw = || Seed::new(7).part("masking").at(3).rng().random::<u64>();
        assert_eq!(draw(), draw());
    }

    #[test]
    fn parts_and_positions_differ() {
        let seed = Seed::new(7);
        assert_ne!(seed.part("a"), seed.part("b"));
        assert_ne!(seed.at(0), seed.at(1));
        assert_ne!(seed.at(0), seed);
    }
}
