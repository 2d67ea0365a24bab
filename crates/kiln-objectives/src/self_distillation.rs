//! Hidden tokens are predicted as a teacher sees them that sees all: data2vec,
//! <https://arxiv.org/abs/2202.03555>. The teacher is the model itself with averaged weights.
//!
//! Targets are the mean of the teacher's last blocks, each feature of each sequence normalised over
//! its tokens, of each document by itself where there are several. Where the paper takes what the
//! feed-forward adds, here it is a block's output.

use crate::{Masked, ObjectiveError};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, Loss, StepContext, Targets, TokenModel};
use kiln_kernels::{eval_mode, gather_tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of self-distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelfDistillation {
    /// Which tokens are hidden, and how errors count.
    pub masked: Masked,
    /// Blocks whose outputs are averaged, from the last down.
    pub blocks: usize,
    /// The decay of the teacher's average, a step.
    pub decay: f64,
}

impl Default for SelfDistillation {
    /// The published settings for speech.
    fn default() -> Self {
        let kind = crate::MaskedKind::Spans(10);
        Self { masked: Masked { ratio: 0.65, kind, ..Masked::default() }, blocks: 8, decay: 0.999 }
    }
}

impl SelfDistillation {
    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), ObjectiveError> {
        if self.blocks == 0 {
            let problem = "is 0; expected at least 1".into();
            return Err(ObjectiveError { key: "self-distillation.blocks", problem });
        }
        if !(0.0..1.0).contains(&self.decay) {
            let problem = format!("is {}; expected 0 to below 1", self.decay);
            return Err(ObjectiveError { key: "self-distillation.decay", problem });
        }
        self.masked.validate()
    }

    /// The mean error over hidden tokens of what `model` predicts of what the teacher makes of
    /// them; a model without one teaches itself. A model that does not show its blocks counts
    /// nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        match self.teach(teacher.unwrap_or(model), batch) {
            Some(taught) => self.loss_against(model, batch, taught, context),
            None => Loss::nothing(&model.device(batch)),
        }
    }

    /// What a teacher makes of each token, `[batch, tokens, width]`; `None` where the model does not
    /// give its blocks' outputs.
    fn teach<B: Backend, M: TokenModel<B>>(
        &self,
        teacher: &M,
        batch: &M::Batch,
    ) -> Option<Tensor<B, 3>> {
        let each = eval_mode(|| teacher.encode_each(batch));
        let layout = teacher.layout(batch);
        let segments: Vec<_> = (0..layout.batch).map(|row| layout.segments(row)).collect();
        let last = each.into_iter().rev().take(self.blocks);
        let normed: Vec<_> = last.map(|x| standardised(x.detach(), &segments)).collect();
        let count = normed.len() as f64;
        let sum = normed.into_iter().reduce(|sum, x| sum + x);
        sum.map(|sum| sum.div_scalar(count))
    }

    /// The mean error over hidden tokens of what `model` predicts of `taught`,
    /// `[batch, tokens, width]`.
    fn loss_against<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        taught: Tensor<B, 3>,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let targets = Targets::Values { values: taught, mask_missing: None };
        self.masked.loss_against(targets, |x| model.predict_blocks(x), model, batch, context)
    }
}

/// Each feature of each sequence, `[batch, tokens, width]`, with a mean of zero and a variance of
/// one over the tokens of each of its segments.
fn standardised<B: Backend>(x: Tensor<B, 3>, segments: &[Vec<Range<usize>>]) -> Tensor<B, 3> {
    let [batch, tokens, width] = x.dims();
    let device = x.device();
    let most = segments.iter().map(Vec::len).max().unwrap_or(0).max(1);
    // What each token is of the mean of each segment, and the segment of each token.
    let mut shares = vec![0f32; batch * most * tokens];
    let mut owners = vec![0i64; batch * tokens];
    for (row, segments) in segments.iter().enumerate() {
        owners[row * tokens..(row + 1) * tokens].fill((row * most) as i64);
        for (number, segment) in segments.iter().enumerate() {
            let owner = row * most + number;
            let share = 1.0 / segment.len().max(1) as f32;
            shares[owner * tokens..][segment.clone()].fill(share);
            owners[row * tokens..][segment.clone()].fill(owner as i64);
        }
    }
    let shares = TensorData::new(shares, [batch, most, tokens]);
    let shares = Tensor::<B, 3>::from_data(shares, &device);
    let owners = TensorData::new(owners, [1, batch * tokens]);
    let owners = Tensor::<B, 2, Int>::from_data(owners, &device);
    let mean_over = |x: Tensor<B, 3>| {
        let means = shares.clone().matmul(x).reshape([1, batch * most, width]);
        gather_tokens(means, owners.clone()).reshape([batch, tokens, width])
    };
    let centred = x.clone() - mean_over(x);
    let variance = mean_over(centred.clone().square());
    centred / variance.add_scalar(1e-5).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MaskedKind, lively::Lively, toy::Toy};
    use burn_flex::Flex;
    use kiln_core::Seed;
    use kiln_nn::NormKind;

    #[test]
    fn features_are_standardised_without_padding_and_document_by_document() {
        let x = Tensor::<Flex, 3>::from_floats(
            [
                [[1.0, 5.0], [3.0, 5.0], [99.0, 99.0], [99.0, 99.0]],
                [[1.0, 7.0], [3.0, 9.0], [8.0, 1.0], [2.0, 5.0]],
            ],
            &Default::default(),
        );
        let both = vec![0..2, 2..4];
        let segments = [both[..1].to_vec(), both];
        let found: Vec<f32> = standardised(x, &segments).into_data().to_vec().unwrap();
        let expected = [[-1.0, 0.0, 1.0, 0.0], [-1.0, -1.0, 1.0, 1.0], [1.0, -1.0, -1.0, 1.0]];
        let counted = found[..4].iter().chain(&found[8..]);
        for (found, expected) in counted.zip(expected.concat()) {
            assert!((found - expected).abs() < 1e-4, "{found}");
        }
    }

    #[test]
    fn the_last_blocks_are_averaged_and_only_hidden_tokens_count() {
        let device = Default::default();
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [0.0], [6.0]]], &device).into();
        // The toy's blocks give the batch and its negative: the last alone, and both together.
        let last = SelfDistillation { blocks: 1, ..Default::default() };
        let both = SelfDistillation { blocks: 2, ..Default::default() };
        let taught = last.teach(&Toy, &batch).unwrap();
        let found: Vec<f32> = taught.clone().into_data().to_vec().unwrap();
        assert!((found[0] - 0.5_f32.sqrt()).abs() < 1e-4 && (found[2] + 2_f32.sqrt()).abs() < 1e-4);
        let none = both.teach(&Toy, &batch).unwrap();
        assert!(none.abs().max().into_scalar() < 1e-6);
        // Hidden tokens are zero in the toy, so the error is the target squared: two.
        let masked = Masked { ratio: 0.34, kind: MaskedKind::Tail, ..Masked::default() };
        let tail = SelfDistillation { masked, blocks: 1, ..Default::default() };
        let mut rng = Seed::new(0).rng();
        let loss = tail.loss_against(&Toy, &batch, taught, &mut StepContext::new(&mut rng));
        assert_eq!(loss.count, 1);
        assert!((loss.value.clone().into_scalar() - 2.0).abs() < 1e-3);
        let mut rng = Seed::new(0).rng();
        let own = tail.loss(&Toy, None, &batch, &mut StepContext::new(&mut rng));
        assert_eq!(own.value.into_scalar(), loss.value.into_scalar());
        assert!(SelfDistillation { blocks: 0, ..tail }.validate().is_err());
    }

    #[test]
    fn a_teacher_is_at_rest_and_leaves_the_statistics_of_its_student() {
        type A = burn::backend::Autodiff<Flex>;
        let device = Default::default();
        let model = Lively::<A>::new(2, NormKind::Batch, 0.5);
        let values = [[[1.0, 2.0], [0.0, 4.0], [3.0, 3.0], [7.0, 1.0]]];
        let batch = Tensor::<A, 3>::from_floats(values, &device).into();
        let distillation = SelfDistillation { blocks: 1, ..Default::default() };
        let taught = || distillation.teach(&model, &batch).unwrap().into_data();
        assert_eq!(taught(), taught(), "nothing is dropped");
        assert_eq!(model.batches(), 0.0);
        let mut rng = Seed::new(0).rng();
        distillation.loss(&model, Some(&model), &batch, &mut StepContext::new(&mut rng));
        assert_eq!(model.batches(), 1.0, "the student's own pass");
    }
}
