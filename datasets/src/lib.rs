//! Data: readers, generators and small embedded series.
//!
//! Series:
//!
//! - [`TableSpec`] reads CSV and Parquet files, [`m4`] the layout of the M4 competition.
//! - [`SplitProtocol`] cuts a [`Series`] into train, validation and test; [`Standardizer`] scales it
//!   by its training part.
//! - [`Corpus`] generates series to pretrain on, [`Prices`] a stock market; [`generate::augment`]
//!   changes series, generated or real.
//! - [`embedded`] are real series in the binary, [`demo_sales`] is a table to try things with.
//!
//! Speech:
//!
//! - [`audio`] decodes, resamples, cuts and augments recordings, and reads lists of them.
//! - [`speech`] generates utterances: by formant synthesis, or through `espeak-ng`.
//!
//! Text:
//!
//! - [`documents`] reads documents of many formats, streamed.
//! - [`labelled`] reads texts with labels, tags, answers, partners or conversations.
//! - [`vectors`] writes vectors of texts, as NumPy's arrays and Parquet.
//! - [`stories`] tells stories of a small simulated world, with exact labels for every task.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod audio;
mod demo;
pub mod documents;
pub mod embedded;
mod error;
mod files;
pub mod frequency;
pub mod generate;
mod guard;
pub mod labelled;
pub mod m4;
pub mod scale;
pub mod series;
pub mod speech;
pub mod split;
pub mod stories;
pub mod table;
mod text;
pub mod vectors;

pub use demo::demo_sales;
pub use documents::{Document, Documents};
pub use embedded::Dataset;
pub use error::{DataError, Result};
pub use generate::{Corpus, Prices};
pub use guard::guarded;
pub use scale::Standardizer;
pub use series::{Frequency, Series};
pub use split::{Part, Split, SplitProtocol};
pub use table::TableSpec;
