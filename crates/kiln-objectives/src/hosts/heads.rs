//! Several heads of continuous targets, and batches of which some examples have labels.

use super::{A, random, step, train};
use crate::{Masked, MaskedKind, Mixture, MixturePart, Objective, ObjectiveSpec as _, Supervised};
use burn::{
    module::Module,
    tensor::{Bool, Tensor, TensorData},
};
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, Encode, HostBatch, Labelled, Layout,
    Loss, Model, PredictTokens, StepContext, TaskLoss, TokenTargets, Tokens,
};
use kiln_nn::{Linear, LinearConfig};

/// Tokens, `[batch, tokens, width]`.
struct Values<B: Backend>(Tensor<B, 3>);

impl<B: Backend> HostBatch for Values<B> {
    fn layout(&self) -> Layout {
        let [rows, tokens, _] = self.0.dims();
        Layout::new(rows, tokens)
    }
}

/// Two heads of continuous targets over one encoder: a token's values, and their negative.
#[derive(Module, Debug)]
struct TwoHeads<B: Backend> {
    heads: Vec<Linear<B>>,
}

impl<B: Backend> Model<B> for TwoHeads<B> {
    type Batch = Values<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.0.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, labelled) = (Some(self as _), Some(self as _));
        let predict_tokens = Some(self as _);
        Capabilities { encode, predict_tokens, labelled, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Values<B>> for TwoHeads<B> {
    fn encode(
        &self,
        batch: &Values<B>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let mask = corruption.mask.clone();
        let masked = mask.map(|mask| mask.unsqueeze_dim::<3>(2).expand(batch.0.dims()));
        let visible = batch.0.clone();
        let visible = match masked {
            Some(mask) => visible.mask_fill(mask, 0.0),
            None => visible,
        };
        // Each token is the mean of those that are visible.
        Tokens::new(visible.clone().mean_dim(1).expand(batch.0.dims()))
    }
}

impl<B: Backend> PredictTokens<B, Values<B>> for TwoHeads<B> {
    fn targets(&self, batch: &Values<B>) -> Vec<TokenTargets<B>> {
        let target = |values| TokenTargets::Values { values, mask_missing: None };
        vec![target(batch.0.clone()), target(batch.0.clone().neg())]
    }

    fn predict(&self, head: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.heads[head].forward(hidden)
    }
}

impl<B: Backend> Labelled<B, Values<B>> for TwoHeads<B> {
    /// The mean of each sequence is its label; those that begin with 0 have none.
    fn supervised(&self, batch: &Values<B>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let [rows, _, width] = batch.0.dims();
        let starts = batch.0.clone().narrow(1, 0, 1).abs().sum_dim(2).reshape([rows]);
        let labelled: Vec<bool> =
            starts.into_data().iter::<f32>().map(|start| start > 0.0).collect();
        let count = labelled.iter().filter(|on| **on).count();
        if count == 0 {
            return TaskLoss::empty(&batch.0.device());
        }
        let mask = TensorData::new(labelled, [rows]);
        let mask = Tensor::<B, 1, Bool>::from_data(mask, &batch.0.device()).float();
        let mean = batch.0.clone().mean_dim(1);
        let error = (self.heads[0].forward(mean.clone()) - mean).square();
        let error = error.sum_dim(2).reshape([rows]).div_scalar(width as f64);
        TaskLoss {
            loss: Loss::new((error * mask).sum().div_scalar(count as f64), count),
            tokens: None,
        }
    }
}

fn two_heads() -> TwoHeads<A> {
    let device = Default::default();
    TwoHeads { heads: (0..2).map(|_| LinearConfig::new(2, 2).init(&device)).collect() }
}

#[test]
fn several_heads_predict_continuous_targets() {
    let batch = Values(random([4, 2], 3).reshape([4, 1, 2]).repeat_dim(1, 4));
    let masked = Masked { ratio: 0.25, kind: MaskedKind::Tail, ..Masked::default() };
    let loss = |model: &TwoHeads<A>, seed| {
        step(seed, |context| masked.loss(model, None, &batch, context)).unwrap()
    };
    let (model, last) = train(two_heads(), 0.05, 2000, loss);
    assert!(last < 1e-2, "{last}");
    // Each head has learned its own target: three quarters of a value are seen of it.
    let mean = |x: &Linear<A>| x.weight.val().narrow(0, 0, 1).narrow(1, 0, 1).into_scalar();
    assert!((mean(&model.heads[0]) - 4.0 / 3.0).abs() < 0.2);
    assert!((mean(&model.heads[1]) + 4.0 / 3.0).abs() < 0.2);
}

#[test]
fn a_batch_may_mix_labelled_and_unlabelled_examples() {
    let device = Default::default();
    let rows = [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [5.0, 6.0]]];
    let batch = Values(Tensor::<A, 3>::from_floats(rows, &device));
    let supervised = Objective::Supervised(Supervised {});
    let masked = Masked { ratio: 0.5, kind: MaskedKind::Tail, ..Masked::default() };
    let masked = Objective::Masked(masked);
    let model = two_heads();
    let loss = |objective: &Objective, batch: &Values<A>| {
        step(1, |context| objective.loss(&model, None, batch, context)).unwrap()
    };
    assert_eq!(loss(&supervised, &batch).count, 1, "one of two has a label");
    assert_eq!(loss(&masked, &batch).count, 2 * 2);
    let parts = [supervised.clone(), masked.clone()];
    let parts = parts.map(|objective| MixturePart { objective, weight: 1.0, from: 0 }).to_vec();
    let both = Objective::Mixture(Mixture { parts, sum: true });
    let value = |objective: &Objective, batch| loss(objective, batch).value.into_scalar();
    let expected = value(&supervised, &batch) + value(&masked, &batch);
    assert!((value(&both, &batch) - expected).abs() < 1e-4);
    // Without labels the rest is learned from.
    let unlabelled = Values(batch.0.clone().narrow(0, 1, 1));
    assert_eq!(loss(&supervised, &unlabelled).count, 0);
    assert_eq!(value(&both, &unlabelled), value(&masked, &unlabelled));
}
