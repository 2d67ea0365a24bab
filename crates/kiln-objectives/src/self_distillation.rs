//! Self-distillation of masked tokens: the student predicts, from a masked input, the hidden states
//! that a teacher has of the whole one. data2vec, <https://arxiv.org/abs/2202.03555>. The teacher is
//! the model itself with averaged weights.
//!
//! Targets are the mean of the teacher's last blocks, each feature of each sequence normalised over
//! its tokens, of each document by itself where there are several. Where the paper takes what the
//! feed-forward adds, here it is a block's output.

use crate::{
    Masked, MaskedTokens, ObjectiveError, ObjectiveSpec,
    spec::{DynModel, check, check_count},
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, HostBatch, Lack, Loss, Need, StepContext, Teacher, TokenTargets};
use kiln_kernels::{eval_mode, gather_tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of self-distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelfDistillation {
    /// Which tokens are masked, and how errors count.
    pub masked: Masked,
    /// Blocks whose hidden states are averaged, from the last down.
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

impl ObjectiveSpec for SelfDistillation {
    type Drawn = (MaskedTokens, Vec<Vec<Range<usize>>>);

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_count("self-distillation.blocks", self.blocks)?;
        let fine = (0.0..1.0).contains(&self.decay);
        check(fine, "self-distillation.decay", self.decay, "0 to below 1")?;
        self.masked.validate()
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::HiddenStates];
        needs.extend(self.masked.corruption_needs());
        needs
    }

    fn teacher(&self) -> Option<Teacher> {
        Some(Teacher::Average(self.decay))
    }

    /// The masked tokens, and the documents of each sequence.
    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Self::Drawn {
        let layout = batch.layout();
        let segments = (0..layout.batch).map(|row| layout.segments(row)).collect();
        (self.masked.draw_tokens(&layout, context), segments)
    }

    /// The mean error over masked tokens of the student's prediction of the teacher's hidden states.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        (masked, segments): Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let capabilities = model.capabilities();
        let hidden = capabilities.hidden_states()?;
        let Some(target) = self.teacher_states(teacher.unwrap_or(model), batch, &segments)? else {
            return Ok(Loss::empty(&model.device(batch)));
        };
        let corruption = masked.corruption(&target.device());
        let encoded = capabilities.encode()?.encode(batch, &corruption, None);
        let predicted = hidden.predict_teacher(encoded.values.clone());
        let targets = TokenTargets::Values { values: target, mask_missing: None };
        let metrics = context.collect_metrics;
        let loss = self.masked.score_values(predicted, targets, &encoded, &masked, metrics);
        Ok(if metrics { masked.with_diagnostics(loss, &encoded) } else { loss })
    }
}

impl SelfDistillation {
    /// The teacher's targets, `[batch, tokens, width]`: the mean of its last blocks' hidden states,
    /// each normalised. `None` where it has no blocks.
    fn teacher_states<B: Backend, T>(
        &self,
        teacher: &DynModel<'_, B, T>,
        batch: &T,
        segments: &[Vec<Range<usize>>],
    ) -> Result<Option<Tensor<B, 3>>, Lack> {
        let hidden = teacher.capabilities().hidden_states()?;
        let states = eval_mode(|| hidden.hidden_states(batch));
        let last = states.into_iter().rev().take(self.blocks);
        let normed: Vec<_> = last.map(|x| standardised(x.detach(), segments)).collect();
        let count = normed.len() as f64;
        let sum = normed.into_iter().reduce(|sum, x| sum + x);
        Ok(sum.map(|sum| sum.div_scalar(count)))
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
    use crate::{
        MaskedKind,
        stochastic::Stochastic,
        toy::{Groups, Toy},
    };
    use burn_flex::Flex;
    use kiln_core::{Layout, Seed};
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
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [0.0], [6.0]]], &device);
        let batch = Groups::from(batch);
        // The toy's blocks give the batch and its negative: the last alone, and both together.
        let last = SelfDistillation { blocks: 1, ..Default::default() };
        let both = SelfDistillation { blocks: 2, ..Default::default() };
        let three = [Layout::new(1, 3).segments(0)];
        let states =
            |one: &SelfDistillation| one.teacher_states(&Toy, &batch, &three).unwrap().unwrap();
        let taught = states(&last);
        let found: Vec<f32> = taught.clone().into_data().to_vec().unwrap();
        assert!((found[0] - 0.5_f32.sqrt()).abs() < 1e-4 && (found[2] + 2_f32.sqrt()).abs() < 1e-4);
        let none = states(&both);
        assert!(none.abs().max().into_scalar() < 1e-6);
        // Hidden tokens are zero in the toy, so the error is the target squared: two.
        let masked = Masked { ratio: 0.34, kind: MaskedKind::Tail, ..Masked::default() };
        let tail = SelfDistillation { masked, blocks: 1, ..Default::default() };
        let mut rng = Seed::new(0).rng();
        let loss = tail.loss(&Toy, None, &batch, &mut StepContext::new(&mut rng)).unwrap();
        assert_eq!(loss.count, 1);
        assert!((loss.value.into_scalar() - 2.0).abs() < 1e-3);
        assert!(SelfDistillation { blocks: 0, ..tail }.validate().is_err());
    }

    #[test]
    fn a_teacher_is_at_rest_and_leaves_the_statistics_of_its_student() {
        type A = burn::backend::Autodiff<Flex>;
        let device = Default::default();
        let model = Stochastic::<A>::new(2, NormKind::Batch, 0.5);
        let values = [[[1.0, 2.0], [0.0, 4.0], [3.0, 3.0], [7.0, 1.0]]];
        let batch = Groups::from(Tensor::<A, 3>::from_floats(values, &device));
        let distillation = SelfDistillation { blocks: 1, ..Default::default() };
        let segments = [Layout::new(1, 4).segments(0)];
        let states = || distillation.teacher_states(&model, &batch, &segments).unwrap();
        let taught = || states().unwrap().into_data();
        assert_eq!(taught(), taught(), "nothing is dropped");
        assert_eq!(model.batches(), 0.0);
        let mut rng = Seed::new(0).rng();
        distillation.loss(&model, Some(&model), &batch, &mut StepContext::new(&mut rng)).unwrap();
        assert_eq!(model.batches(), 1.0, "the student's own pass");
    }
}
