//! Hidden tokens are predicted from the rest: BERT's words (<https://arxiv.org/abs/1810.04805>),
//! PatchTST's patches (<https://arxiv.org/abs/2211.14730>), HuBERT's units
//! (<https://arxiv.org/abs/2106.07447>).

use crate::{ObjectiveError, Spans, score::score, signs::with_token_signs};
use burn::tensor::{Bool, Tensor, TensorData};
use kiln_core::{Backend, Layout, Loss, Rng, Sign, StepContext, Targets, TokenModel, View};
use rand::{RngExt, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of masked prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Masked {
    /// The share of tokens hidden, above 0 and below 1.
    pub ratio: f64,
    /// Which tokens are hidden.
    pub kind: MaskedKind,
    /// Whether the channels of an item share one mask.
    pub same_for_channels: bool,
    /// Where targets are values: errors beyond this count straight rather than squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huber: Option<f64>,
}

impl Default for Masked {
    fn default() -> Self {
        Self { ratio: 0.4, kind: MaskedKind::Random, same_for_channels: false, huber: None }
    }
}

/// Which tokens are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaskedKind {
    /// Single tokens anywhere.
    Random,
    /// Runs of this many tokens anywhere.
    Block(usize),
    /// Runs of this many tokens that may overlap: as many as would make up the ratio if they did
    /// not, see [`Spans`].
    Spans(usize),
    /// The last tokens: forecasting as infilling.
    Tail,
}

impl Masked {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if !(self.ratio > 0.0 && self.ratio < 1.0) {
            return Err(ObjectiveError {
                key: "masked.ratio",
                problem: format!("is {}; expected above 0 and below 1", self.ratio),
            });
        }
        crate::check_huber("masked.huber", self.huber)?;
        let key = match self.kind {
            MaskedKind::Block(0) => "masked.kind.block",
            MaskedKind::Spans(0) => "masked.kind.spans",
            _ => return Ok(()),
        };
        Err(ObjectiveError { key, problem: "is 0; expected at least 1".into() })
    }

    /// The mean loss over hidden tokens whose target is known.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        self.loss_against(model.targets(batch), model, batch, context)
    }

    /// The same with targets from elsewhere.
    pub(crate) fn loss_against<B: Backend, M: TokenModel<B>>(
        &self,
        targets: Targets<B>,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let hidden = self.sample(&layout, context.rng);
        let visible: usize = (0..layout.batch).map(|sequence| layout.length(sequence)).sum();
        let share = hidden.iter().filter(|h| **h).count() as f32 / visible.max(1) as f32;
        let device = model.device(batch);
        let hide = Tensor::<B, 2, Bool>::from_data(
            TensorData::new(hidden, [layout.batch, layout.tokens]),
            &device,
        );
        let encoded = model.encode(batch, View { hide: Some(hide.clone()), causal: false });
        let mut ignore = hide.bool_not();
        if let Some(pad) = encoded.mask_pad.clone() {
            ignore = ignore.bool_or(pad);
        }
        let decoded = model.decode(encoded.values.clone());
        let loss = score(decoded, targets, Some(ignore), self.huber, context.observe);
        if context.observe {
            with_token_signs(loss, &encoded)
                .with_sign(Sign::MaskedShare, Tensor::from_floats([share], &device))
        } else {
            loss
        }
    }

    /// Draws which tokens are hidden, `[batch, tokens]` in row-major order; padding never is.
    fn sample(&self, layout: &Layout, rng: &mut Rng) -> Vec<bool> {
        let repeat = if self.same_for_channels { layout.channels.max(1) } else { 1 };
        let mut hidden = Vec::with_capacity(layout.batch * layout.tokens);
        for sequence in (0..layout.batch).step_by(repeat) {
            let mut row = self.sample_row(layout.length(sequence), rng);
            row.resize(layout.tokens, false);
            for _ in 0..repeat {
                hidden.extend_from_slice(&row);
            }
        }
        hidden.truncate(layout.batch * layout.tokens);
        hidden
    }

    /// One sequence.
    fn sample_row(&self, tokens: usize, rng: &mut Rng) -> Vec<bool> {
        // At least one token hidden and one seen, where there are two.
        let hide = ((tokens as f64 * self.ratio).round() as usize)
            .clamp(usize::from(tokens > 1), tokens.saturating_sub(1));
        let mut row = vec![false; tokens];
        match self.kind {
            MaskedKind::Spans(length) => {
                let spans = Spans { probability: self.ratio, length, ..Spans::default() };
                return spans.sample_row(tokens, rng);
            }
            MaskedKind::Tail => row[tokens - hide..].fill(true),
            MaskedKind::Random => {
                row[..hide].fill(true);
                row.shuffle(rng);
            }
            MaskedKind::Block(length) => {
                let mut left = hide;
                while left > 0 {
                    let start = rng.random_range(0..tokens);
                    for hidden in row.iter_mut().skip(start).take(length.max(1)) {
                        if left > 0 && !*hidden {
                            *hidden = true;
                            left -= 1;
                        }
                    }
                }
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    fn layout() -> Layout {
        Layout { channels: 3, ..Layout::new(6, 10) }
    }

    #[test]
    fn hides_the_share_asked_for() {
        for kind in [MaskedKind::Random, MaskedKind::Block(3), MaskedKind::Tail] {
            let masked = Masked { ratio: 0.3, kind, ..Masked::default() };
            let hidden = masked.sample(&layout(), &mut Seed::new(1).rng());
            for row in hidden.chunks(10) {
                assert_eq!(row.iter().filter(|h| **h).count(), 3, "{kind:?}");
            }
        }
    }

    #[test]
    fn tail_hides_the_end_and_channels_can_share() {
        let tail = Masked { ratio: 0.2, kind: MaskedKind::Tail, ..Masked::default() };
        let hidden = tail.sample(&layout(), &mut Seed::new(1).rng());
        assert!(hidden[..8].iter().all(|h| !h) && hidden[8] && hidden[9]);
        let shared = Masked { same_for_channels: true, ..Masked::default() };
        let hidden = shared.sample(&layout(), &mut Seed::new(1).rng());
        assert_eq!(hidden[..10], hidden[10..20]);
        assert_ne!(hidden[..10], hidden[30..40]);
    }

    #[test]
    fn padding_is_not_hidden() {
        let layout = Layout { lengths: Some(vec![10, 5, 0]), ..Layout::new(3, 10) };
        for kind in [MaskedKind::Random, MaskedKind::Block(2), MaskedKind::Tail] {
            let masked = Masked { ratio: 0.4, kind, ..Masked::default() };
            let hidden = masked.sample(&layout, &mut Seed::new(1).rng());
            let count = |row: &[bool]| row.iter().filter(|hidden| **hidden).count();
            let counts: Vec<usize> = hidden.chunks(10).map(count).collect();
            assert_eq!(counts, [4, 2, 0], "{kind:?}");
            assert!(hidden[15..].iter().all(|hidden| !hidden), "{kind:?}");
        }
        let spans = Masked { ratio: 0.4, kind: MaskedKind::Spans(2), ..Masked::default() };
        let hidden = spans.sample(&layout, &mut Seed::new(1).rng());
        assert!(hidden[..10].iter().filter(|hidden| **hidden).count() >= 3);
        assert!(hidden[15..].iter().all(|hidden| !hidden));
    }

    #[test]
    fn only_hidden_tokens_are_scored() {
        // The toy model sees zero at hidden tokens and repeats it: the error is the value squared.
        let batch = Tensor::<Flex, 3>::from_floats([[[7.0], [7.0], [2.0]]], &Default::default());
        let tail = Masked { ratio: 0.34, kind: MaskedKind::Tail, ..Masked::default() };
        let mut rng = Seed::new(0).rng();
        let loss = tail.loss(&Toy, &batch, &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), (4.0, 1));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let error = Masked { ratio: 1.0, ..Masked::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "objective.masked.ratio: is 1; expected above 0 and below 1");
    }
}
