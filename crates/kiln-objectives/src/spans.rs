//! Span masks that may overlap: the masks of wav2vec 2.0
//! (<https://arxiv.org/abs/2006.11477>, appendix A) and SpecAugment
//! (<https://arxiv.org/abs/1904.08779>).

use crate::{
    ObjectiveError,
    spec::{check, check_count},
};
use kiln_core::{Layout, Rng};
use rand::{RngExt, seq::index};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Span masks that may overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spans {
    /// Tokens that would be masked, as a share, if no spans overlapped: 0.65 with spans of 10 masks
    /// about half.
    pub probability: f64,
    /// Tokens of a span.
    pub length: usize,
    /// The least spans of a sequence, where it is long enough for that many without overlap.
    pub least: usize,
}

impl Default for Spans {
    /// The published masks.
    fn default() -> Self {
        Self { probability: 0.65, length: 10, least: 2 }
    }
}

impl Spans {
    /// Checks the settings; `key` is where they stand in a recipe, below `objective`.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self, key: &str) -> Result<(), ObjectiveError> {
        let fine = (0.0..=1.0).contains(&self.probability);
        check(fine, &format!("{key}.probability"), self.probability, "0 to 1")?;
        check_count(&format!("{key}.length"), self.length)
    }

    /// Draws which tokens of a batch are masked, `[batch, tokens]` in row-major order; padding
    /// never is.
    pub fn sample(&self, layout: &Layout, rng: &mut Rng) -> Vec<bool> {
        let mut hidden = Vec::with_capacity(layout.batch * layout.tokens);
        for sequence in 0..layout.batch {
            let mut row = self.sample_row(layout.length(sequence), rng);
            row.resize(layout.tokens, false);
            hidden.append(&mut row);
        }
        hidden
    }

    /// Draws which of `tokens` tokens are masked. Their starts are distinct, and their number is
    /// rounded up or down at random so that it is right on average. A sequence shorter than a span
    /// has none.
    pub fn sample_row(&self, tokens: usize, rng: &mut Rng) -> Vec<bool> {
        let mut row = vec![false; tokens];
        let rounding: f64 = rng.random();
        let Some(starts) = (tokens + 1).checked_sub(self.length).filter(|starts| *starts > 0)
        else {
            return row;
        };
        let wanted = self.probability * tokens as f64 / self.length.max(1) as f64 + rounding;
        let count = (wanted as usize).max(self.least).min(tokens / self.length.max(1)).min(starts);
        for start in index::sample(rng, starts, count) {
            row[start..start + self.length].fill(true);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Seed;

    fn share(spans: Spans, tokens: usize, draws: usize) -> f64 {
        let mut rng = Seed::new(3).rng();
        let hidden: usize = (0..draws)
            .map(|_| spans.sample_row(tokens, &mut rng).iter().filter(|hidden| **hidden).count())
            .sum();
        hidden as f64 / (tokens * draws) as f64
    }

    #[test]
    fn the_published_masks_hide_half() {
        // The paper: 49 % of the frames of 15 s, spans of 14.7 frames (299 ms) on average.
        let spans = Spans::default();
        assert!((share(spans, 749, 400) - 0.49).abs() < 0.01);
        let mut rng = Seed::new(5).rng();
        let (mut runs, mut hidden) = (0, 0);
        for _ in 0..400 {
            let row = spans.sample_row(749, &mut rng);
            hidden += row.iter().filter(|hidden| **hidden).count();
            runs += row.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            runs += usize::from(row[0]);
        }
        let mean = hidden as f64 / runs as f64;
        assert!((mean - 14.7).abs() < 0.6, "{mean}");
    }

    #[test]
    fn single_tokens_hide_exactly_their_share() {
        let spans = Spans { probability: 0.35, length: 1, least: 0 };
        // 3.5 of 10: three or four.
        let found = share(spans, 10, 4000);
        assert!((found - 0.35).abs() < 0.003, "{found}");
    }

    #[test]
    fn every_place_is_as_likely_but_the_ends() {
        let spans = Spans { probability: 0.2, length: 4, least: 1 };
        let mut rng = Seed::new(1).rng();
        let mut counts = [0u32; 20];
        for _ in 0..8000 {
            for (count, hidden) in counts.iter_mut().zip(spans.sample_row(20, &mut rng)) {
                *count += u32::from(hidden);
            }
        }
        // One run on average: a token in the middle is in 4 of the 17 places it can have.
        for (at, count) in counts.iter().enumerate() {
            let runs = (at + 1).min(20 - at).min(4) as f64;
            let expected = 8000.0 * runs / 17.0;
            assert!((f64::from(*count) - expected).abs() < 6.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn rows_of_unequal_length_hide_nothing_of_their_padding() {
        let spans = Spans { probability: 0.5, length: 3, least: 2 };
        let layout = Layout { lengths: Some(vec![12, 7, 6, 3, 2, 0]), ..Layout::new(6, 12) };
        for seed in 0..50 {
            let hidden = spans.sample(&layout, &mut Seed::new(seed).rng());
            assert_eq!(hidden.len(), 72);
            let count = |row: usize| {
                let length = layout.length(row);
                let row = &hidden[12 * row..12 * (row + 1)];
                assert!(row[length..].iter().all(|hidden| !hidden));
                row.iter().filter(|hidden| **hidden).count()
            };
            // Two runs at least where two fit side by side, at most all of it.
            assert!((4..=9).contains(&count(0)) && (4..=6).contains(&count(1)));
            assert!((4..=6).contains(&count(2)));
            assert_eq!((count(3), count(4), count(5)), (3, 0, 0));
        }
    }
}
