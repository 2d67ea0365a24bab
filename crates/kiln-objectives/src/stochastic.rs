//! A model that differs between training and evaluation, so that tests show which it is in.

use crate::toy::{Groups, Toy};
use burn::tensor::Tensor;
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, Encode, HiddenStates, Labelled, Loss,
    Model, PredictTokens, PretextTasks, StepContext, TaskLoss, TokenTargets, Tokens,
};
use kiln_nn::{Dropout, Norm, NormConfig, NormKind};

/// A model that drops and gathers statistics while it trains: a batch, `[batch, tokens, width]`,
/// normalised. Values are the scores of the ids that tokens stand for, the largest of each.
#[derive(Debug)]
pub struct Stochastic<B: Backend> {
    /// Of all that was seen, unless it is of each token.
    pub norm: Norm<B>,
    dropout: Dropout,
}

impl<B: Backend> Stochastic<B> {
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

impl<B: Backend> Model<B> for Stochastic<B> {
    type Batch = Groups<B>;

    fn device(&self, batch: &Groups<B>) -> B::Device {
        batch.values.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Groups<B>> {
        Capabilities {
            encode: Some(self),
            predict_tokens: Some(self),
            hidden_states: Some(self),
            labelled: Some(self),
            pretext: Some(self),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, Groups<B>> for Stochastic<B> {
    fn encode(
        &self,
        batch: &Groups<B>,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let Tokens { values, .. } = Toy.encode(batch, corruption, attention);
        Tokens::new(self.dropout.forward(self.norm.forward(values)))
    }
}

impl<B: Backend> HiddenStates<B, Groups<B>> for Stochastic<B> {
    fn hidden_states(&self, batch: &Groups<B>) -> Vec<Tensor<B, 3>> {
        vec![self.encode(batch, &Corruption::none(), None).values]
    }
}

impl<B: Backend> PredictTokens<B, Groups<B>> for Stochastic<B> {
    fn targets(&self, batch: &Groups<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.values.clone().argmax(2).squeeze_dim(2) }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

impl<B: Backend> Labelled<B, Groups<B>> for Stochastic<B> {
    fn supervised(&self, batch: &Groups<B>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let tokens = self.encode(batch, &Corruption::none(), None);
        TaskLoss { loss: Loss::new(tokens.values.clone().mean(), 1), tokens: Some(tokens) }
    }
}

impl<B: Backend> PretextTasks<B, Groups<B>> for Stochastic<B> {
    fn tasks(&self) -> Vec<&str> {
        vec!["order"]
    }

    fn pretext(
        &self,
        _: &str,
        batch: &Groups<B>,
        context: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        Some(self.supervised(batch, context))
    }
}
