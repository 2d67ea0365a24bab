//! How far transcripts are from what was said.
//!
//! - [`ErrorRates`] sums up word and character errors of a corpus; [`ErrorCount`] those of one
//!   transcript.
//! - [`align()`] says which words were taken for which.
//! - [`bootstrap()`] gives the interval an error rate lies in; [`RealTimeFactor`] the speed.

mod align;
mod error_rate;
mod speed;

pub use align::{Edit, align};
pub use error_rate::{ErrorCount, ErrorRates, Utterance};
pub use kiln_core::{Interval, bootstrap};
pub use speed::RealTimeFactor;
