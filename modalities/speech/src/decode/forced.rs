//! Forced alignment: the most probable CTC path of a known label.

use super::decoded::{TokenSpan, log_add};
use crate::{Result, SpeechError};
use ndarray::ArrayView2;

/// Floor of log-probabilities, so that sums stay numbers and paths with fewer floors win.
const LOG_FLOOR: f64 = -1e6;

/// Neighbouring equal tokens of a label, which need a blank between them: it fits into no fewer
/// frames than its tokens and these together.
pub fn repeats(label: &[u32]) -> usize {
    label.windows(2).filter(|two| two[0] == two[1]).count()
}

/// Forced alignment of a label without blanks to `[frames, vocabulary]` log-probabilities: one span
/// a token, in order. Ids have to be columns.
///
/// Takes a byte for each frame and twice each token: minutes at once, not hours.
///
/// # Errors
/// When the label needs more frames than there are.
pub fn force_align(
    log_probs: ArrayView2<'_, f32>,
    label: &[u32],
    blank: u32,
) -> Result<Vec<TokenSpan>> {
    let frames = log_probs.nrows();
    let repeats = repeats(label);
    if label.len() + repeats > frames {
        return Err(SpeechError::LabelTooLong { tokens: label.len(), repeats, frames });
    }
    if label.is_empty() {
        return Ok(Vec::new());
    }
    // Blank, token, blank, …, token, blank.
    let states = 2 * label.len() + 1;
    let token = |state: usize| if state % 2 == 1 { label[state / 2] } else { blank };
    let at = |frame: usize, state: usize| {
        f64::from(log_probs[(frame, token(state) as usize)]).max(LOG_FLOOR)
    };
    let mut scores = vec![f64::NEG_INFINITY; states];
    scores[0] = at(0, 0);
    scores[1] = at(0, 1);
    // How many states back the best way to each state comes from, `[frames, states]`.
    let mut steps = vec![0u8; frames * states];
    for frame in 1..frames {
        let steps = &mut steps[frame * states..][..states];
        // From the end, so that a score is read before it is replaced.
        for state in (0..states).rev() {
            let (mut score, mut step) = (scores[state], 0);
            if state > 0 && scores[state - 1] > score {
                (score, step) = (scores[state - 1], 1);
            }
            let skips = state > 2 && state % 2 == 1 && token(state) != token(state - 2);
            if skips && scores[state - 2] > score {
                (score, step) = (scores[state - 2], 2);
            }
            scores[state] = score + at(frame, state);
            steps[state] = step;
        }
    }
    let mut state = states - if scores[states - 1] > scores[states - 2] { 1 } else { 2 };
    let mut spans: Vec<TokenSpan> = Vec::with_capacity(label.len());
    let mut before = usize::MAX;
    for frame in (0..frames).rev() {
        if state % 2 == 1 {
            let token = token(state);
            let log_probability = log_probs[(frame, token as usize)];
            match spans.last_mut().filter(|_| before == state) {
                Some(span) => {
                    span.first = frame;
                    span.log_probability = span.log_probability.max(log_probability);
                }
                None => spans.push(TokenSpan { token, first: frame, last: frame, log_probability }),
            }
        }
        before = state;
        state -= usize::from(steps[frame * states + state]);
    }
    spans.reverse();
    Ok(spans)
}

/// CTC log-likelihood of a label without blanks, over all of its paths
/// (<https://www.cs.toronto.edu/~graves/icml_2006.pdf>); minus infinity where it needs more frames
/// than there are. Ids have to be columns.
pub fn log_probability(log_probs: ArrayView2<'_, f32>, label: &[u32], blank: u32) -> f64 {
    let states = 2 * label.len() + 1;
    let token = |state: usize| if state % 2 == 1 { label[state / 2] } else { blank };
    // Before the first frame all is at the first blank, from where a path may step on.
    let mut scores = vec![f64::NEG_INFINITY; states];
    scores[0] = 0.0;
    for row in log_probs.outer_iter() {
        // From the end, so that a score is read before it is replaced.
        for state in (0..states).rev() {
            let mut score = scores[state];
            if state > 0 {
                score = log_add(score, scores[state - 1]);
            }
            if state > 2 && state % 2 == 1 && token(state) != token(state - 2) {
                score = log_add(score, scores[state - 2]);
            }
            scores[state] = score + f64::from(row[token(state) as usize]);
        }
    }
    scores.into_iter().rev().take(2).fold(f64::NEG_INFINITY, log_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn ln(probabilities: Array2<f32>) -> Array2<f32> {
        probabilities.mapv(f32::ln)
    }

    #[test]
    fn all_paths_together() {
        let log_probs = ln(array![[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]);
        let mut sums = std::collections::BTreeMap::<Vec<u32>, f64>::new();
        for path in 0..27_u32 {
            let tokens = [path / 9, path / 3 % 3, path % 3];
            let chance = (0..3).map(|at| f64::from(log_probs[(at, tokens[at] as usize)])).sum();
            let mut label = tokens.to_vec();
            label.dedup();
            label.retain(|token| *token != 0);
            *sums.entry(label).or_default() += f64::exp(chance);
        }
        for (label, sum) in sums {
            let found = log_probability(log_probs.view(), &label, 0).exp();
            assert!((found - sum).abs() < 1e-6, "{label:?}: {found} is not {sum}");
        }
        assert_eq!(log_probability(log_probs.view(), &[1, 1, 2], 0), f64::NEG_INFINITY);
        let nothing = Array2::zeros((0, 3));
        assert_eq!(log_probability(nothing.view(), &[], 0), 0.0);
        assert_eq!(log_probability(nothing.view(), &[1], 0), f64::NEG_INFINITY);
    }

    #[test]
    fn by_hand() {
        let log_probs = ln(array![
            [0.8, 0.1, 0.1],
            [0.1, 0.8, 0.1],
            [0.3, 0.6, 0.1],
            [0.7, 0.2, 0.1],
            [0.1, 0.9, 0.0],
            [0.1, 0.1, 0.8],
        ]);
        let spans = force_align(log_probs.view(), &[1, 1, 2], 0).unwrap();
        let frames: Vec<_> = spans.iter().map(|span| (span.token, span.first, span.last)).collect();
        assert_eq!(frames, [(1, 1, 2), (1, 4, 4), (2, 5, 5)]);
        assert!((spans[0].log_probability.exp() - 0.8).abs() < 1e-6);
        assert_eq!(force_align(log_probs.view(), &[], 0).unwrap(), []);
    }

    #[test]
    fn a_label_that_is_too_long() {
        let log_probs = Array2::zeros((3, 2));
        let error = force_align(log_probs.view(), &[1, 1, 1], 0).unwrap_err();
        assert_eq!(error.to_string(), "3 tokens with 2 repeats need 5 frames, there are 3");
    }

    proptest! {
        #[test]
        fn the_best_path_of_all(
            values in prop::collection::vec(0.0f32..1.0, 6 * 3),
            label in prop::collection::vec(1u32..3, 1..4),
        ) {
            let log_probs = ln(Array2::from_shape_vec((6, 3), values).unwrap());
            let spans = force_align(log_probs.view(), &label, 0).unwrap();
            let mut path = vec![0; 6];
            for span in &spans {
                path[span.first..=span.last].fill(span.token as usize);
            }
            let score = |path: &[usize]| -> f64 {
                path.iter().enumerate().map(|(t, token)| f64::from(log_probs[(t, *token)])).sum()
            };
            let best = super::super::tests::paths(6, 3)
                .filter(|path| super::super::tests::collapse(path, 0) == label)
                .map(|path| score(&path))
                .fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(spans.iter().map(|span| span.token).collect::<Vec<_>>(), label);
            prop_assert!((score(&path) - best).abs() < 1e-6);
        }
    }
}
