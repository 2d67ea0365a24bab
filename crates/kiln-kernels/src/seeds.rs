//! Where the seeds of dropout come from: a sequence a thread, started again by [`reseed`].
//!
//! A model draws a seed for each dropout of each forward pass, in its order; the backward pass
//! replays the same bits from the same seed. A trainer reseeds before every batch, so that a resumed
//! run draws what an uninterrupted one would have.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Starts this thread's sequence of dropout seeds.
pub fn reseed(seed: u64) {
    STATE.set(seed);
}

/// The next of this thread's dropout seeds.
pub fn next_seed() -> [u32; 2] {
    // SplitMix64 (Steele, Lea and Flood, 2014): every state is met once.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    [mixed as u32, (mixed >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_start_gives_the_same_seeds() {
        reseed(7);
        let first: Vec<_> = (0..100).map(|_| next_seed()).collect();
        reseed(7);
        let again: Vec<_> = (0..100).map(|_| next_seed()).collect();
        assert_eq!(first, again);
        reseed(8);
        assert!(!first.contains(&next_seed()));
    }
}
