//! How good a model of text is.
//!
//! All measures are computed on the host in `f64`. Where nothing was scored the answer is `None`,
//! never zero.
//!
//! | task | measure | agrees with |
//! | --- | --- | --- |
//! | classification | [`Confusion`], [`MultiLabel`], [`top_k_accuracy`] | scikit-learn |
//! | tagging | [`TagScores`] | seqeval, `conlleval` |
//! | question answering | [`score_answer`] | SQuAD's script; CMRC's for Chinese |
//! | similarity, order | [`pearson`], [`spearman`], [`kendall`] | SciPy |
//! | retrieval | [`Ranked`] | trec_eval |
//! | generation | [`Bleu`], [`Chrf`], [`rouge_l`] | sacreBLEU, rouge-score |
//! | language modelling | [`Surprise`] | |
//! | representations | [`LogisticProbe`], [`NeighbourProbe`] | scikit-learn |
//!
//! How sure a number is says [`bootstrap_mean`] for means over examples, [`bootstrap`] for all else.

mod answers;
mod bleu;
mod bleu_tokens;
mod chrf;
mod classification;
mod correlation;
mod counts;
mod error;
mod language;
mod lbfgs;
mod multi_label;
mod probe;
mod ranking;
mod rouge;
mod tagging;
mod words;

pub use answers::{AnswerScore, exact_match, score_answer};
pub use bleu::{Bleu, BleuScore};
pub use bleu_tokens::BleuTokens;
pub use chrf::Chrf;
pub use classification::{Confusion, top_k_accuracy};
pub use correlation::{kendall, pearson, spearman};
pub use counts::{Average, Counts, Scores};
pub use error::MetricError;
pub use kiln_core::{Interval, bootstrap, bootstrap_mean};
pub use language::Surprise;
pub use multi_label::MultiLabel;
pub use probe::{LogisticProbe, NeighbourProbe, ProbeConfig, highest};
pub use ranking::{Gain, Ranked, rank};
pub use rouge::{RougeScore, rouge_l};
pub use tagging::TagScores;
pub(crate) use words::{is_unspaced, segments};

/// Whether two numbers are equal but for rounding.
#[cfg(test)]
fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}
