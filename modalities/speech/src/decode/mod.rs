//! CTC decoding: from log-probabilities of tokens to words.
//!
//! Log-probabilities are natural logarithms, `[frames, vocabulary]`, as a log-softmax gives them.
//!
//! - [`greedy()`] takes the argmax of every frame.
//! - [`Decoder`]: prefix beam search, with a language model and a lexicon.
//! - [`GreedyStream`] and [`BeamStream`]: the same, streaming.
//! - [`ConfusionNetwork`] and [`Lattice`] hold alternatives to the best hypothesis.

mod beam;
mod confusion;
mod decoded;
mod decoder;
mod forced;
mod greedy;
mod lattice;
mod lexicon;
mod prefixes;
mod stream;

pub use confusion::{Choice, ConfusionNetwork, Slot};
pub use decoded::{Decoded, FrameTimes, Hypothesis, TokenSpan};
pub use decoder::{BeamConfig, Decoder, LanguageUnit, LanguageWeights};
pub use forced::{force_align, log_probability, repeats};
pub use greedy::{GreedyStream, greedy};
pub use lattice::{Lattice, LatticeArc};
pub use stream::BeamStream;

#[cfg(test)]
mod tests;
