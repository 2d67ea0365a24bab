//! Data: readers of files, splits, audio augmentation and small embedded series.
//!
//! Series:
//!
//! - [`TableSpec`] reads CSV and Parquet files, [`m4`] the layout of the M4 competition.
//! - [`SplitProtocol`] cuts a [`Series`] into train, validation and test; [`Standardizer`] scales it
//!   by its training part.
//! - [`embedded`] are real series in the binary.
//!
//! Speech:
//!
//! - [`audio`] decodes, resamples, cuts and augments recordings, and reads lists of them.
//!
//! Text:
//!
//! - [`documents`] reads documents of many formats, streamed.
//! - [`labelled`] reads texts with labels, tags, answers, partners or conversations.
//! - [`vectors`] writes vectors of texts, as NumPy's arrays and Parquet.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod audio;
pub mod documents;
pub mod draw;
pub mod embedded;
mod error;
pub mod files;
pub mod frequency;
mod guard;
pub mod labelled;
pub mod m4;
pub mod scale;
pub mod series;
pub mod split;
pub mod table;
mod tabular;
mod text;
pub mod vectors;

pub use documents::{Document, Documents};
pub use embedded::Dataset;
pub use error::{DataError, Result};
pub use guard::guarded;
pub use scale::Standardizer;
pub use series::{Frequency, Series};
pub use split::{Split, SplitPart, SplitProtocol};
pub use table::TableSpec;
