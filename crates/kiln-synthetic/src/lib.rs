//! Synthetic data: series, speech and stories, each a pure function of a seed and an index.
//!
//! - [`Corpus`] generates series to pretrain on, [`Prices`] a stock market; [`series::augment`]
//!   changes series, generated or real. [`demo_sales`] is a table to try things with.
//! - [`speech`] generates utterances: by formant synthesis, or through `espeak-ng`.
//! - [`stories`] tells stories of a small simulated world, with exact labels for every task.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod demo;
pub mod series;
pub mod speech;
pub mod stories;

pub use demo::demo_sales;
pub use series::{Corpus, Prices};
