//! Recordings of speech: reading, cutting, listing, batching, augmenting.
//!
//! - [`read`] decodes a file, [`AudioReader`] streams one in chunks, [`probe`] asks what it is;
//!   WAV, FLAC, MP3, OGG/Vorbis and M4A/AAC, told apart by content.
//! - [`Segmentation`] cuts long recordings at silences, [`Spans`] hands the pieces out.
//! - [`Manifest`] lists utterances in the layouts of published corpora; [`AudioSource`] decodes
//!   them by index; [`Bucketing`] puts those of similar length into one batch.
//! - [`Augmentation`] makes clean recordings sound like a room, a street or a telephone.

pub mod augment;
mod bucket;
mod decode;
mod fault;
mod filter;
pub mod g711;
mod manifest;
mod resample;
mod segment;
mod source;
mod stream;
mod waveform;

pub use augment::{Augmentation, Augmenter};
pub use bucket::Bucketing;
pub use decode::{AudioInfo, probe};
pub use fault::AudioFault;
pub use filter::Biquad;
pub use manifest::{Location, Manifest, Utterance};
pub use resample::Resampler;
pub use segment::{Segment, Segmentation, Spans};
pub use source::{AudioSource, Clip};
pub use stream::{AudioReader, read, read_bytes};
pub use waveform::Waveform;

#[cfg(test)]
mod tests;
