//! Metrics and statistics, computed on the host.
//!
//! Measures are computed in `f64`. Where nothing was scored the answer is `None`, never zero.
//!
//! | task | measure | agrees with |
//! | --- | --- | --- |
//! | [`classification`] | [`Confusion`](classification::Confusion), [`MultiLabel`](classification::MultiLabel), [`top_k_accuracy`](classification::top_k_accuracy) | scikit-learn |
//! | [`tagging`] | [`TagScores`](tagging::TagScores) | seqeval, `conlleval` |
//! | question answering, [`qa`] | [`score_answer`](qa::score_answer) | SQuAD's script; CMRC's for Chinese |
//! | similarity, order, [`correlation`] | [`pearson`](correlation::pearson), [`spearman`](correlation::spearman), [`kendall`](correlation::kendall) | SciPy |
//! | retrieval, [`ranking`] | [`Ranked`](ranking::Ranked); [`Bm25`](ranking::Bm25) as the baseline | trec_eval |
//! | [`generation`] | [`Bleu`](generation::Bleu), [`Chrf`](generation::Chrf), [`rouge_l`](generation::rouge_l) | sacreBLEU, rouge-score |
//! | language modelling | [`Perplexity`](perplexity::Perplexity); n-gram models ([`ngram`]) as baselines | KenLM |
//! | speech recognition, [`error_rate`] | [`ErrorRates`](error_rate::ErrorRates), [`RealTimeFactor`](real_time_factor::RealTimeFactor) | |
//! | forecasting, [`forecast`] | [`PointScores`](forecast::PointScores), [`QuantileScores`](forecast::QuantileScores), [`Coverage`](forecast::Coverage); [`baselines`] | M4, GluonTS |
//! | representations, [`probe`] | [`LogisticProbe`](probe::LogisticProbe), [`NeighbourProbe`](probe::NeighbourProbe) | scikit-learn |
//!
//! Confidence intervals: [`bootstrap_mean`] for means over examples, [`bootstrap()`] for all else.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod baselines;
mod bootstrap;
pub mod classification;
pub mod correlation;
mod error;
pub mod error_rate;
pub mod forecast;
pub mod generation;
pub mod ngram;
pub mod perplexity;
pub mod probe;
pub mod qa;
pub mod ranking;
pub mod real_time_factor;
pub mod tagging;
pub mod words;

pub use bootstrap::{Interval, bootstrap, bootstrap_mean};
pub use error::MetricError;

/// Whether two numbers are equal but for rounding.
#[cfg(test)]
fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}
