//! N-gram language models over token ids with Dirichlet smoothing: the baseline of language models.

use rustc_hash::FxHashMap;

/// The longest context, tokens.
const CONTEXT: usize = 2;
/// Pseudo-counts that the shorter context adds to those of a longer one.
const PRIOR: f64 = 4.0;

/// Unigram, bigram and trigram model of token ids. Each order is smoothed towards the one below by
/// a Dirichlet prior (MacKay and Peto, 1995), and the lowest towards the uniform distribution.
#[derive(Debug)]
pub struct DirichletNgrams {
    vocabulary: usize,
    /// By context, at most [`CONTEXT`] ids: how often each id followed, and all together.
    followers: FxHashMap<Vec<u32>, (FxHashMap<u32, u64>, u64)>,
}

impl DirichletNgrams {
    /// No counts yet.
    pub fn new(vocabulary: usize) -> Self {
        Self { vocabulary, followers: FxHashMap::default() }
    }

    /// Counts a sequence.
    pub fn count(&mut self, ids: &[u32]) {
        for (at, id) in ids.iter().enumerate() {
            for length in 0..=CONTEXT.min(at) {
                let (counts, total) =
                    self.followers.entry(ids[at - length..at].to_vec()).or_default();
                *counts.entry(*id).or_default() += 1;
                *total += 1;
            }
        }
    }

    /// The probability of `id` after `context`.
    fn probability(&self, context: &[u32], id: u32) -> f64 {
        let below = match context.split_first() {
            Some((_, shorter)) => self.probability(shorter, id),
            None => 1.0 / self.vocabulary.max(1) as f64,
        };
        match self.followers.get(context) {
            Some((counts, total)) => {
                let count = counts.get(&id).copied().unwrap_or(0) as f64;
                (count + PRIOR * below) / (*total as f64 + PRIOR)
            }
            None => below,
        }
    }

    /// Negative log-likelihood of the token at a place of a sequence, in nats, given at most
    /// `order - 1` tokens before it.
    pub fn nats_at(&self, ids: &[u32], at: usize, order: usize) -> f64 {
        let from = at - order.saturating_sub(1).min(at).min(CONTEXT);
        let id = ids.get(at).copied().unwrap_or_default();
        -self.probability(ids.get(from..at).unwrap_or_default(), id).ln()
    }

    /// Cross-entropy in nats: the mean of [`Self::nats_at`] over tokens, without the first of each
    /// sequence. Sequences are ids with their loss mask; an empty mask counts all.
    pub fn nats<'a>(
        &self,
        sequences: impl Iterator<Item = (&'a [u32], &'a [bool])>,
        order: usize,
    ) -> f64 {
        let (mut sum, mut count) = (0.0, 0usize);
        for (ids, loss_mask) in sequences {
            for at in (1..ids.len()).filter(|at| loss_mask.get(*at) != Some(&false)) {
                sum += self.nats_at(ids, at, order);
                count += 1;
            }
        }
        sum / count.max(1) as f64
    }

    /// The most frequent id of those wanted; the smallest of several.
    pub fn most_frequent(&self, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let (counts, _) = self.followers.get::<[u32]>(&[])?;
        let wanted = counts.iter().filter(|(id, _)| wanted(**id));
        wanted.max_by_key(|(id, count)| (**count, std::cmp::Reverse(**id))).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_hand_and_in_sum() {
        let mut ngrams = DirichletNgrams::new(3);
        ngrams.count(&[0, 1, 0, 1, 2]);
        // 2 of 5 are 0, with four imaginary ones spread over three ids.
        let zero = (2.0 + 4.0 / 3.0) / 9.0;
        assert!((ngrams.probability(&[], 0) - zero).abs() < 1e-12);
        // After 1 came 0 and 2, once each.
        assert!((ngrams.probability(&[1], 0) - (1.0 + 4.0 * zero) / 6.0).abs() < 1e-12);
        for context in [&[][..], &[1], &[0, 1], &[2, 2]] {
            let sum: f64 = (0..3).map(|id| ngrams.probability(context, id)).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
        assert_eq!(ngrams.most_frequent(|_| true), Some(0));
        assert_eq!(ngrams.most_frequent(|id| id > 1), Some(2));
        assert!(
            (ngrams.nats_at(&[2, 1, 0], 2, 2) - -ngrams.probability(&[1], 0).ln()).abs() < 1e-12
        );
        let sequence = [0, 1, 0, 1, 0, 1];
        let nats = |order| ngrams.nats([(&sequence[..], &[][..])].into_iter(), order);
        assert!(nats(3) < nats(2) && nats(2) < nats(1));
        let counted = [true, false, true, false, false, false];
        let second = ngrams.nats([(&sequence[..], &counted[..])].into_iter(), 2);
        assert!((second + ngrams.probability(&[1], 0).ln()).abs() < 1e-12);
    }
}
