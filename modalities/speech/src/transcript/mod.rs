//! Transcripts: words with times, and the files they become.
//!
//! - [`Transcript`] holds words with times; [`Segments`] cuts it into subtitles.
//! - [`Format`] writes text, JSON, SubRip and WebVTT.

mod format;
mod segment;
mod timed;

pub use format::{Format, json, plain_text, srt, vtt};
pub use segment::{Segment, Segments};
pub use timed::{Alternative, Transcript, Word};
