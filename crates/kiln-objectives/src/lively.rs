//! A model that is other while it trains, so that it shows whether it does.

use crate::toy::{Toy, Views};
use burn::tensor::Tensor;
use kiln_core::{Backend, Layout, Loss, StepContext, Targets, TaskLoss, TokenModel, Tokens, View};
use kiln_nn::{Dropout, Norm, NormConfig, NormKind};

/// A model that drops and gathers statistics while it trains: a batch, `[batch, tokens, width]`,
/// normalised. Values are the scores of the ids that tokens stand for, the largest of each.
#[derive(Debug)]
pub struct Lively<B: Backend> {
    /// Of all that was seen, unless it is of each token.
    pub norm: Norm<B>,
    dropout: Dropout,
}

impl<B: Backend> Lively<B> {
    /// A model of this width that drops a share.
    pub fn new(width: usize, kind: NormKind, share: f64) -> Self {
        let norm = NormConfig::new(kind).init(width, &Default::default());
        Self { norm, dropout: Dropout::new(share) }
    }

    /// How many batches its statistics were taken from.
    pub fn batches(&self) -> f32 {
        let batches = self.norm.running.as_ref().map(|running| running.batches.value_sync());
        batches.map_or(0.0, |batches| batches.into_data().iter::<f32>().sum())
    }
}

impl<B: Backend> TokenModel<B> for Lively<B> {
    type Batch = Views<B>;

    fn layout(&self, batch: &Self::Batch) -> Layout {
        Toy.layout(batch)
    }

    fn device(&self, batch: &Self::Batch) -> B::Device {
        Toy.device(batch)
    }

    fn encode(&self, batch: &Self::Batch, view: View<B>) -> Tokens<B> {
        let Tokens { values, .. } = Toy.encode(batch, view);
        Tokens::new(self.dropout.forward(self.norm.forward(values)))
    }

    fn encode_each(&self, batch: &Self::Batch) -> Vec<Tensor<B, 3>> {
        vec![self.encode(batch, View::default()).values]
    }

    fn targets(&self, batch: &Self::Batch) -> Targets<B> {
        Targets::Ids { ids: batch.values.clone().argmax(2).squeeze_dim(2) }
    }

    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        values
    }

    fn supervised(&self, batch: &Self::Batch, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let tokens = self.encode(batch, View::default());
        TaskLoss { loss: Loss::new(tokens.values.clone().mean(), 1), tokens: Some(tokens) }
    }

    fn pretext(
        &self,
        _: &str,
        batch: &Self::Batch,
        context: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        Some(self.supervised(batch, context))
    }
}
