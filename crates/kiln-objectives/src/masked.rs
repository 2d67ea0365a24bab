//! Hidden tokens are predicted from the rest: BERT's words (<https://arxiv.org/abs/1810.04805>),
//! PatchTST's patches (<https://arxiv.org/abs/2211.14730>).

use crate::{ObjectiveError, score::score, signs::with_token_signs};
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
        if self.kind == MaskedKind::Block(0) {
            return Err(ObjectiveError {
                key: "masked.kind.block",
                problem: "is 0; expected at least 1".into(),
            });
        }
        Ok(())
    }

    /// The mean loss over hidden tokens whose target is known.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let layout = model.layout(batch);
        let hidden = self.sample(&layout, context.rng);
        let share = hidden.iter().filter(|h| **h).count() as f32 / hidden.len().max(1) as f32;
        let targets = model.targets(batch);
        let device = match &targets {
            Targets::Values { values, .. } => values.device(),
            Targets::Ids { ids, .. } => ids.device(),
        };
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

    /// Draws which tokens are hidden, `[batch, tokens]` in row-major order.
    fn sample(&self, layout: &Layout, rng: &mut Rng) -> Vec<bool> {
        let tokens = layout.tokens;
        // At least one token hidden and one seen, where there are two.
        let hide = ((tokens as f64 * self.ratio).round() as usize)
            .clamp(usize::from(tokens > 1), tokens.saturating_sub(1));
        let repeat = if self.same_for_channels { layout.channels.max(1) } else { 1 };
        let mut hidden = Vec::with_capacity(layout.batch * tokens);
        while hidden.len() < layout.batch * tokens {
            let row = self.sample_row(tokens, hide, rng);
            for _ in 0..repeat {
                hidden.extend_from_slice(&row);
            }
        }
        hidden.truncate(layout.batch * tokens);
        hidden
    }

    /// One sequence with exactly `hide` of its tokens hidden.
    fn sample_row(&self, tokens: usize, hide: usize, rng: &mut Rng) -> Vec<bool> {
        let mut row = vec![false; tokens];
        match self.kind {
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

    const LAYOUT: Layout = Layout { batch: 6, tokens: 10, channels: 3 };

    #[test]
    fn hides_the_share_asked_for() {
        for kind in [MaskedKind::Random, MaskedKind::Block(3), MaskedKind::Tail] {
            let masked = Masked { ratio: 0.3, kind, ..Masked::default() };
            let hidden = masked.sample(&LAYOUT, &mut Seed::new(1).rng());
            for row in hidden.chunks(10) {
                assert_eq!(row.iter().filter(|h| **h).count(), 3, "{kind:?}");
            }
        }
    }

    #[test]
    fn tail_hides_the_end_and_channels_can_share() {
        let tail = Masked { ratio: 0.2, kind: MaskedKind::Tail, ..Masked::default() };
        let hidden = tail.sample(&LAYOUT, &mut Seed::new(1).rng());
        assert!(hidden[..8].iter().all(|h| !h) && hidden[8] && hidden[9]);
        let shared = Masked { same_for_channels: true, ..Masked::default() };
        let hidden = shared.sample(&LAYOUT, &mut Seed::new(1).rng());
        assert_eq!(hidden[..10], hidden[10..20]);
        assert_ne!(hidden[..10], hidden[30..40]);
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
