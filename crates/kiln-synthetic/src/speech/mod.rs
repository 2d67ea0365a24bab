//! Speech without recordings: sentences from a [`Grammar`], spoken by a synthesizer.
//!
//! - [`Spoken`] needs nothing but Kiln: formant synthesis of a hundred English words.
//! - [`Espeak`] runs `espeak-ng` where it is installed; it speaks Vietnamese in three dialects.

pub mod espeak;
pub mod formant;
mod grammar;
mod spoken;

pub use espeak::{Espeak, EspeakSource};
pub use grammar::{Grammar, Sentences};
pub use spoken::{Spoken, SpokenSource};

/// The indices, behind all that are asked for, of the clips that babble is mixed from.
fn babble(augmentation: &kiln_datasets::audio::Augmentation) -> std::ops::Range<u64> {
    const CLIPS: u64 = 12;
    let count = if augmentation.needs_voices() { CLIPS } else { 0 };
    u64::MAX - count..u64::MAX
}
