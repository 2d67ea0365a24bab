//! Generated series: corpora to pretrain on, augmentation, and stock prices.
//!
//! [`Corpus`] mixes families of generators, one a file. Everything is a pure function of a seed
//! and an index, so any number of threads can generate in any order.

mod arma;
pub mod augment;
mod calendar;
mod corpus;
mod gp;
mod intermittent;
mod mixup;
mod prices;
mod profile;
mod regime;
mod seasonal;
mod standardize;
mod trend;
mod weights;

pub use corpus::Corpus;
pub use prices::Prices;
pub use weights::{FamilyWeights, ResolutionWeights};
