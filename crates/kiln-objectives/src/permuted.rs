//! Some tokens are predicted one after the other in an order drawn at random, from all tokens that
//! are not predicted, those predicted before, and the places of all: masked and permuted
//! pre-training, <https://arxiv.org/abs/2004.09297>.
//!
//! A sequence of `n` tokens of which `k` are predicted becomes `n + 2k` places: the tokens that are
//! not predicted; a hidden token at each predicted place; the predicted tokens; and a hidden token
//! again at each, which asks for it. What asks for the `i`-th sees the tokens not predicted, the
//! predicted ones before it, and hidden ones in the place of those after, so that it knows as many
//! places as there are, as the paper's two streams do.

use crate::{ObjectiveError, score::score_ids};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Arrangement, Backend, Layout, Loss, Rng, StepContext, Targets, TokenModel};
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of masked and permuted prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Permuted {
    /// The share of tokens that are predicted, above 0 and below 1.
    pub ratio: f64,
    /// Whether words of several tokens are predicted as a whole, where the data knows words.
    pub whole_words: bool,
}

impl Default for Permuted {
    fn default() -> Self {
        Self { ratio: 0.15, whole_words: false }
    }
}

impl Permuted {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if self.ratio > 0.0 && self.ratio < 1.0 {
            return Ok(());
        }
        let problem = format!("is {}; expected above 0 and below 1", self.ratio);
        Err(ObjectiveError { key: "permuted.ratio", problem })
    }

    /// The mean loss of the tokens that are predicted; a model that cannot arrange tokens counts
    /// nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let device = model.device(batch);
        let (arrangement, asked) = self.arrange(&layout, context.rng);
        let nothing = || Loss::nothing(&device);
        let Targets::Ids { ids, .. } = model.targets(batch) else { return nothing() };
        let Some(values) = model.arranged(batch, &arrangement) else { return nothing() };
        let ids = arranged_ids(&arrangement, ids);
        score_ids(model, values, ids, &asked, context.observe)
    }

    /// Where tokens stand, and which places ask for one, `[batch, places]` in row-major order.
    fn arrange(&self, layout: &Layout, rng: &mut Rng) -> (Arrangement, Vec<bool>) {
        let drawn: Vec<(Vec<usize>, Vec<usize>)> =
            (0..layout.batch).map(|sequence| self.draw(layout, sequence, rng)).collect();
        let size = |(kept, predicted): &(Vec<usize>, Vec<usize>)| kept.len() + 3 * predicted.len();
        let longest = drawn.iter().map(size).max().unwrap_or(0);
        let mut arrangement = Arrangement::default();
        let mut asked = Vec::with_capacity(layout.batch * longest);
        for (kept, predicted) in &drawn {
            let (n, k) = (kept.len(), predicted.len());
            let hidden = predicted.iter().map(|at| (*at, true));
            let mut places: Vec<(usize, bool)> = kept.iter().map(|at| (*at, false)).collect();
            places.extend(hidden.clone());
            places.extend(predicted.iter().map(|at| (*at, false)));
            places.extend(hidden);
            places.resize(longest, (0, true));
            asked.extend((0..longest).map(|at| (n + 2 * k..n + 3 * k).contains(&at)));
            for from in 0..longest {
                arrangement.sees.extend((0..longest).map(|to| sees(from, to, n, k)));
            }
            arrangement.places.push(places);
        }
        (arrangement, asked)
    }

    /// The tokens of a sequence that are not predicted, in their order, and those that are, in one
    /// drawn at random.
    fn draw(&self, layout: &Layout, sequence: usize, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
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

/// The ids of an arrangement's places, `[batch, places]`, of a batch's, `[batch, tokens]`.
pub(crate) fn arranged_ids<B: Backend>(
    arrangement: &Arrangement,
    ids: Tensor<B, 2, Int>,
) -> Tensor<B, 2, Int> {
    let [rows, tokens] = ids.dims();
    let places = arrangement.places.first().map_or(0, Vec::len);
    let row = |(row, places): (usize, &Vec<(usize, bool)>)| {
        places.iter().map(|(at, _)| (row * tokens + at) as i64).collect::<Vec<_>>()
    };
    let from: Vec<i64> = arrangement.places.iter().enumerate().flat_map(row).collect();
    let from = Tensor::from_data(TensorData::new(from, [rows * places]), &ids.device());
    ids.reshape([rows * tokens]).select(0, from).reshape([rows, places])
}

/// Whether a place sees another, of `n` that are kept and `k` that are predicted. What fills a row
/// up sees itself.
fn sees(from: usize, to: usize, n: usize, k: usize) -> bool {
    let (hidden, content, asking) = (n..n + k, n + k..n + 2 * k, n + 2 * k..n + 3 * k);
    if to >= asking.start || from >= asking.end {
        // What asks is seen by itself alone.
        return from == to;
    }
    let own = if content.contains(&from) {
        Some(from - content.start + 1)
    } else if asking.contains(&from) {
        Some(from - asking.start)
    } else {
        None
    };
    match own {
        // Kept and hidden tokens see each other.
        None => !content.contains(&to),
        Some(before) if hidden.contains(&to) => to - hidden.start >= before,
        Some(before) if content.contains(&to) => to - content.start < before,
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Seed;

    #[test]
    fn nobody_sees_what_it_is_asked_for() {
        let layout = Layout { lengths: Some(vec![10, 6]), ..Layout::new(2, 10) };
        let permuted = Permuted { ratio: 0.3, ..Permuted::default() };
        let (arrangement, asked) = permuted.arrange(&layout, &mut Seed::new(1).rng());
        let longest = arrangement.places[0].len();
        assert_eq!(longest, 16);
        for (row, places) in arrangement.places.iter().enumerate() {
            let asking: Vec<usize> = (0..longest).filter(|at| asked[row * longest + at]).collect();
            assert_eq!(asking.len(), [3, 2][row]);
            for (order, from) in asking.iter().enumerate() {
                let seen: Vec<usize> = (0..longest)
                    .filter(|to| arrangement.sees[(row * longest + from) * longest + to])
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
        assert!(Permuted { ratio: 0.0, ..permuted }.validate().is_err());
    }
}
