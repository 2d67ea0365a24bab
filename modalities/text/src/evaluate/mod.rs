//! Evaluation of a finished model, beside baselines.

mod bootstrap_ci;
mod language;
mod masked;
mod order;
mod positions;
mod probe;
mod qa;
mod retrieval;
mod run;
mod samples;
mod seq2seq;
mod similarity;
mod span_qa;
mod subject;
mod task;

pub use positions::TooLong;
pub(crate) use positions::fits;
pub use run::evaluate;
