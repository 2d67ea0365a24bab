//! Masked and permuted language modelling (MPNet, <https://arxiv.org/abs/2004.09297>): some tokens are
//! predicted one after the other in an order drawn at random, from all tokens that are not predicted,
//! those predicted before, and the positions of all.
//!
//! A sequence of `n` tokens of which `k` are predicted becomes `n + 2k` places: the tokens that are
//! not predicted; a mask at each predicted position; the predicted tokens; and a mask again at each,
//! the query that predicts it. The query of the `i`-th attends to the tokens not predicted, the
//! predicted ones before it, and masks in the place of those after, so that it knows all positions, as
//! the paper's two streams do.

use crate::{
    ObjectiveError, ObjectiveSpec,
    score::{TokenHead, score_ids},
    spec::{DynModel, check_ratio},
};
use kiln_core::{
    Backend, HostBatch, Lack, Layout, Loss, Need, PermutedSequence, PlaceVisibility, Rng,
    StepContext,
};
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of masked and permuted prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PermutedLm {
    /// The share of tokens that are predicted, above 0 and below 1.
    pub ratio: f64,
    /// Whether words of several tokens are predicted as a whole, where the data knows words.
    pub whole_words: bool,
}

impl Default for PermutedLm {
    fn default() -> Self {
        Self { ratio: 0.15, whole_words: false }
    }
}

impl ObjectiveSpec for PermutedLm {
    type Drawn = (PermutedSequence, Vec<bool>);

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_ratio("permuted-lm.ratio", self.ratio)
    }

    fn needs(&self) -> Vec<Need> {
        use Need::{Bidirectional, MaskTokens, Permutation, TokenIds, TokenTargets};
        vec![TokenTargets, TokenIds, MaskTokens, Bidirectional, Permutation]
    }

    /// The permuted sequence, and which places are queries, `[batch, places]` in row-major order.
    fn draw(
        &self,
        batch: &dyn HostBatch,
        context: &mut StepContext<'_>,
    ) -> (PermutedSequence, Vec<bool>) {
        self.permute(&batch.layout(), context.rng)
    }

    /// The mean loss of the tokens that are predicted.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        (sequence, queries): Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let capabilities = model.capabilities();
        let (heads, encoder) = (capabilities.predict_tokens()?, capabilities.encode_permuted()?);
        let Some((head, ids)) = TokenHead::of_ids(heads, batch) else {
            return Ok(Loss::empty(&model.device(batch)));
        };
        let hidden = encoder.encode_permuted(batch, &sequence);
        Ok(score_ids(head, hidden, sequence.permute(ids), &queries, context.collect_metrics))
    }
}

impl PermutedLm {
    /// The permuted sequence, and which places are queries, `[batch, places]` in row-major order.
    fn permute(&self, layout: &Layout, rng: &mut Rng) -> (PermutedSequence, Vec<bool>) {
        let drawn: Vec<(Vec<usize>, Vec<usize>)> =
            (0..layout.batch).map(|sequence| self.draw_row(layout, sequence, rng)).collect();
        let size = |(kept, predicted): &(Vec<usize>, Vec<usize>)| kept.len() + 3 * predicted.len();
        let longest = drawn.iter().map(size).max().unwrap_or(0);
        let mut places = Vec::with_capacity(layout.batch);
        let mut queries = Vec::with_capacity(layout.batch * longest);
        let (mut rank, mut first, mut end) = (Vec::new(), Vec::new(), Vec::new());
        for (kept, predicted) in &drawn {
            let (n, k) = (kept.len(), predicted.len());
            let hidden = predicted.iter().map(|at| (*at, true));
            let mut row: Vec<(usize, bool)> = kept.iter().map(|at| (*at, false)).collect();
            row.extend(hidden.clone());
            row.extend(predicted.iter().map(|at| (*at, false)));
            row.extend(hidden);
            row.resize(longest, (0, true));
            places.push(row);
            queries.extend((0..longest).map(|at| (n + 2 * k..n + 3 * k).contains(&at)));
            for at in 0..longest {
                let (of, from, to) = ranked(at, n as i64, k as i64);
                rank.push(of);
                first.push(from);
                end.push(to);
            }
        }
        let visibility = PlaceVisibility::Ranked { rank, first, end };
        (PermutedSequence { places, visibility }, queries)
    }

    /// The tokens of a sequence that are not predicted, in their order, and those that are, in one
    /// drawn at random.
    fn draw_row(
        &self,
        layout: &Layout,
        sequence: usize,
        rng: &mut Rng,
    ) -> (Vec<usize>, Vec<usize>) {
        let mut units = layout.units(sequence, self.whole_words);
        units.shuffle(rng);
        let count = (units.len() as f64 * self.ratio).round() as usize;
        let count = count.clamp(usize::from(units.len() > 1), units.len().saturating_sub(1));
        units.truncate(count);
        let predicted: Vec<usize> = units.into_iter().flatten().collect();
        let kept = (0..layout.length(sequence)).filter(|at| !predicted.contains(at)).collect();
        (kept, predicted)
    }
}

/// The rank of a place, the least rank that attends to it, and the one above the largest, of `n`
/// tokens that are kept and `k` that are predicted: how many predicted tokens a place sees is its rank.
fn ranked(place: usize, n: i64, k: i64) -> (i64, i64, i64) {
    let at = place as i64;
    match at {
        // Kept tokens are attended to by all but padding.
        _ if at < n => (0, 0, k + 1),
        // The mask of a predicted token, by those that do not see the token.
        _ if at < n + k => (0, 0, at - n + 1),
        // The token itself, by those behind it.
        _ if at < n + 2 * k => (at - n - k + 1, at - n - k + 1, k + 1),
        // A query is attended to by itself alone.
        _ if at < n + 3 * k => (at - n - 2 * k, 0, 0),
        // So is padding, which attends to nothing else.
        _ => (-1, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn no_query_attends_to_what_it_predicts() {
        let layout = Layout { lengths: Some(vec![10, 6]), ..Layout::new(2, 10) };
        let permuted = PermutedLm { ratio: 0.3, ..PermutedLm::default() };
        let (sequence, queries) = permuted.permute(&layout, &mut Seed::new(1).rng());
        let longest = sequence.places[0].len();
        assert_eq!(longest, 16);
        let attends = sequence.attention_mask::<Flex>(&Default::default());
        let attends: Vec<bool> = attends.into_data().iter().collect();
        for (row, places) in sequence.places.iter().enumerate() {
            let asking: Vec<usize> =
                (0..longest).filter(|at| queries[row * longest + at]).collect();
            assert_eq!(asking.len(), [3, 2][row]);
            for (order, from) in asking.iter().enumerate() {
                let seen: Vec<usize> = (0..longest)
                    .filter(|to| attends[(row * longest + from) * longest + to])
                    .collect();
                let content = |at: &usize| !places[*at].1;
                let wanted = places[*from].0;
                assert!(seen.iter().filter(|at| content(at)).all(|at| places[*at].0 != wanted));
                // All places are known, each once but for its own, where it asks.
                let mut known: Vec<usize> = seen.iter().map(|at| places[*at].0).collect();
                known.sort_unstable();
                known.dedup();
                assert_eq!(known.len(), layout.length(row));
                assert_eq!(seen.len(), layout.length(row) + 1);
                let contents = seen.iter().filter(|at| content(at)).count();
                assert_eq!(contents, layout.length(row) - asking.len() + order);
            }
        }
        assert!(PermutedLm { ratio: 0.0, ..permuted }.validate().is_err());
    }
}
