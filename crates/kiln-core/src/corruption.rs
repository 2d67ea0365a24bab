//! What an objective changes of a batch before the model encodes it.

use crate::{Backend, PermutedSequence};
use burn::tensor::{Bool, Tensor};

/// Corruption of the input tokens: which are masked, which are replaced at random.
#[derive(Clone, Debug)]
pub struct Corruption<B: Backend> {
    /// `[batch, tokens]`, true where a token is masked; the frontend decides what stands in its place
    /// (zeros, a learned vector, a mask id).
    pub mask: Option<Tensor<B, 2, Bool>>,
    /// Tokens replaced at random, where the frontend can
    /// ([`Need::RandomReplacement`](crate::Need::RandomReplacement)).
    pub random_replacement: Option<RandomReplacement<B>>,
}

/// Random replacement of tokens, as in BERT (<https://arxiv.org/abs/1810.04805>).
#[derive(Clone, Debug)]
pub struct RandomReplacement<B: Backend> {
    /// `[batch, tokens]`, true where a token is replaced.
    pub tokens: Tensor<B, 2, Bool>,
    /// `[batch, tokens]`, uniform from 0 to below 1: which of all tokens replaces each.
    pub uniform: Tensor<B, 2>,
}

impl<B: Backend> Corruption<B> {
    /// The tokens as they are.
    pub fn none() -> Self {
        Self { mask: None, random_replacement: None }
    }

    /// Masks the tokens `mask`, `[batch, tokens]`.
    pub fn masked(mask: Tensor<B, 2, Bool>) -> Self {
        Self { mask: Some(mask), random_replacement: None }
    }
}

/// A sequence-to-sequence pair of token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTarget {
    /// What the model reads.
    pub source: Vec<u32>,
    /// What it is to generate, without a token that begins it.
    pub target: Vec<u32>,
}

impl SourceTarget {
    /// The last completion of a sequence, and the prompt before it: the last run of tokens that
    /// `loss_mask` has true. `None` without one, or without a prompt.
    pub fn last_completion(ids: &[u32], loss_mask: &[bool]) -> Option<Self> {
        let mask = loss_mask.get(..ids.len())?;
        let last = mask.iter().rposition(|on| *on)?;
        let first = mask[..last].iter().rposition(|on| !*on).map_or(0, |before| before + 1);
        let pair = Self { source: ids[..first].to_vec(), target: ids[first..=last].to_vec() };
        (first > 0).then_some(pair)
    }
}

/// The input of a bottleneck decoder beside the vector of each sequence.
#[derive(Clone, Debug)]
pub enum DecoderInput<B: Backend> {
    /// The corrupted tokens, each of which attends to all.
    Corrupted(Corruption<B>),
    /// Tokens in another order, some of them several times.
    Permuted(PermutedSequence),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_completion_is_what_the_loss_mask_ends_with() {
        let on = [false, true, true, false, true, true];
        let found = SourceTarget::last_completion(&[1, 2, 3, 4, 5, 6], &on);
        let expected = SourceTarget { source: vec![1, 2, 3, 4], target: vec![5, 6] };
        assert_eq!(found, Some(expected));
        assert_eq!(SourceTarget::last_completion(&[1, 2], &[true, true]), None, "no prompt");
        assert_eq!(SourceTarget::last_completion(&[1, 2], &[true, false, false]), None);
        assert_eq!(SourceTarget::last_completion(&[1], &[false]), None);
    }
}
