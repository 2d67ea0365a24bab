//! Beam search.

use super::{choice::Beam, decoder::Decoder, state::State};
use kiln_core::Backend;

/// A hypothesis: a sequence that ended, or is still being extended.
#[derive(Clone, Debug)]
struct Hypothesis {
    ids: Vec<u32>,
    log_probability: f64,
}

impl Hypothesis {
    /// By which finished texts are compared; the end counts as a token.
    fn score(&self, penalty: f64) -> f64 {
        self.log_probability / ((self.ids.len() + 1) as f64).powf(penalty)
    }
}

/// The best sequence found for each prompt.
pub(super) fn search<B: Backend, D: Decoder<B>>(
    state: &mut State<'_, B, D>,
    beam: &Beam,
    max_new_tokens: usize,
) -> Vec<Vec<u32>> {
    let (prompts, width) = (state.len(), beam.width);
    let copies: Vec<usize> = (0..prompts).flat_map(|prompt| vec![prompt; width]).collect();
    state.select(&copies);
    let start = Hypothesis { ids: Vec::new(), log_probability: 0.0 };
    // All beams of a prompt are equal at first: only one is extended.
    let mut open: Vec<Vec<Option<Hypothesis>>> =
        vec![(0..width).map(|copy| (copy == 0).then(|| start.clone())).collect(); prompts];
    let mut ended: Vec<Vec<Hypothesis>> = vec![Vec::new(); prompts];
    for _ in 0..max_new_tokens {
        let is_done = |ended: &Vec<Hypothesis>, open: &[Option<Hypothesis>]| {
            let best = open.iter().flatten().map(|one| one.score(beam.length_penalty));
            let best = best.fold(f64::NEG_INFINITY, f64::max);
            let worst = ended.iter().map(|one| one.score(beam.length_penalty));
            ended.len() >= width && worst.fold(f64::INFINITY, f64::min) >= best
        };
        if ended.iter().zip(&open).all(|(ended, open)| is_done(ended, open)) {
            break;
        }
        let logits = state.logits();
        let (mut from, mut next) = (Vec::new(), Vec::new());
        for prompt in 0..prompts {
            let mut candidates = Vec::new();
            for (copy, one) in open[prompt].iter().enumerate() {
                let Some(one) = one else { continue };
                let row = prompt * width + copy;
                for (id, log_probability) in likeliest(&logits[row], 2 * width) {
                    candidates.push((row, id, one.log_probability + log_probability));
                }
            }
            candidates.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
            let mut going = Vec::with_capacity(width);
            for (rank, (row, id, log_probability)) in candidates.into_iter().enumerate() {
                let Some(before) = &open[prompt][row - prompt * width] else { continue };
                let mut ids = before.ids.clone();
                if Some(id) == state.eos() {
                    // Only an end token among the best `width` candidates finishes a hypothesis.
                    if rank < width {
                        ended[prompt].push(Hypothesis { ids, log_probability });
                    }
                } else if going.len() < width {
                    ids.push(id);
                    from.push(row);
                    next.push(id);
                    going.push(Some(Hypothesis { ids, log_probability }));
                }
            }
            ended[prompt].sort_by(|a, b| {
                b.score(beam.length_penalty).total_cmp(&a.score(beam.length_penalty))
            });
            ended[prompt].truncate(width);
            while going.len() < width {
                from.push(prompt * width);
                next.push(state.eos().unwrap_or(0));
                going.push(None);
            }
            open[prompt] = going;
        }
        state.select(&from);
        state.push(&next);
    }
    let finish = |(mut ended, open): (Vec<Hypothesis>, Vec<Option<Hypothesis>>)| {
        if ended.is_empty() {
            ended.extend(open.into_iter().flatten());
        }
        let best = ended
            .into_iter()
            .max_by(|a, b| a.score(beam.length_penalty).total_cmp(&b.score(beam.length_penalty)));
        best.map(|one| one.ids).unwrap_or_default()
    };
    ended.into_iter().zip(open).map(finish).collect()
}

/// The likeliest ids and their log-probabilities, the likeliest first.
fn likeliest(scores: &[f32], count: usize) -> Vec<(u32, f64)> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from(score - most).exp()).sum();
    let total = f64::from(most) + sum.ln();
    let mut found: Vec<(u32, f64)> = scores
        .iter()
        .enumerate()
        .map(|(id, score)| (id as u32, f64::from(*score) - total))
        .collect();
    let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < found.len() {
        found.select_nth_unstable_by(count, order);
        found.truncate(count);
    }
    found.sort_by(order);
    found
}
