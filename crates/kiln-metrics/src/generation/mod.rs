//! Generated text against references: BLEU, chrF and ROUGE-L.

mod bleu;
mod bleu_tokens;
mod chrf;
mod rouge;

pub use bleu::{Bleu, BleuScore};
pub use bleu_tokens::BleuTokens;
pub use chrf::Chrf;
pub use rouge::{RougeScore, rouge_l};
