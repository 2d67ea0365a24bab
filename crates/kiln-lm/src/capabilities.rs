//! The text model as objectives see it, and its losses with labels.

mod language;
mod permuted;

use crate::{
    batch::Text,
    examples::{Labels, TextBatch},
    model::{EncodeOptions, TextModel},
};
use burn::tensor::{Int, Tensor};
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, Discriminate, EmbedGroups, Encode,
    HiddenStates, Labelled, Model, PredictTokens, PredictValue, RandomReplacement, Rank, Ratings,
    StepContext, TaskLoss, TokenTargets, Tokens, members_of_groups,
};

impl<B: Backend> Model<B> for TextModel<B> {
    type Batch = TextBatch<B>;

    fn device(&self, batch: &TextBatch<B>) -> B::Device {
        batch.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, TextBatch<B>> {
        let config = self.config();
        let encoder_only = config.decoder.is_none();
        let (head, scores) = (config.heads().next().is_some(), self.language.is_some());
        let numbers = self.discriminator.is_some();
        Capabilities {
            encode: Some(self),
            predict_tokens: scores.then_some(self as _),
            hidden_states: encoder_only.then_some(self as _),
            embed_groups: Some(self),
            rank: head.then_some(self as _),
            labelled: (head || !encoder_only).then_some(self as _),
            ratings: Some(self),
            language: scores.then_some(self as _),
            discriminate: numbers.then_some(self as _),
            value: numbers.then_some(self as _),
            encode_permuted: encoder_only.then_some(self as _),
            bottleneck_decode: (!self.bottleneck.is_empty()).then_some(self as _),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, TextBatch<B>> for TextModel<B> {
    fn encode(
        &self,
        batch: &TextBatch<B>,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let text = self.corrupted(batch, corruption);
        let (visibility, generates) = (attention.cloned(), attention.is_some());
        self.read(&text, EncodeOptions { visibility, generates, cache: None })
    }
}

impl<B: Backend> PredictTokens<B, TextBatch<B>> for TextModel<B> {
    fn targets(&self, batch: &TextBatch<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.text.ids.clone() }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.scores(hidden.clone()).unwrap_or(hidden)
    }

    fn token_nll(&self, _: usize, hidden: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let Some(head) = &self.language else { unreachable!("a capability only with one") };
        head.losses(hidden, ids, &self.embedding.words)
    }
}

impl<B: Backend> HiddenStates<B, TextBatch<B>> for TextModel<B> {
    fn hidden_states(&self, batch: &TextBatch<B>) -> Vec<Tensor<B, 3>> {
        self.read_each(&batch.text)
    }
}

impl<B: Backend> EmbedGroups<B, TextBatch<B>> for TextModel<B> {
    fn embeddings(&self, batch: &TextBatch<B>, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        let tokens = self.encode(batch, corruption, None);
        members_of_groups(self.pooled(&tokens), batch.host.layout.group_size)
    }
}

impl<B: Backend> Rank<B, TextBatch<B>> for TextModel<B> {
    /// The first output of the head for the batch's task.
    fn ranking_scores(&self, batch: &TextBatch<B>) -> Option<(Tensor<B, 1>, Tokens<B>)> {
        let tokens = self.encode(batch, &Corruption::none(), None);
        let scores = self.task_of_texts(batch.host.task.as_deref(), &tokens)?;
        Some((scores.narrow(1, 0, 1).squeeze_dim(1), tokens))
    }
}

impl<B: Backend> Ratings<B, TextBatch<B>> for TextModel<B> {
    fn ratings(&self, batch: &TextBatch<B>) -> Option<Vec<f32>> {
        match &batch.host.labels {
            Some(Labels::Numbers(rows)) => rows.iter().map(|row| row.first().copied()).collect(),
            _ => None,
        }
    }
}

impl<B: Backend> Discriminate<B, TextBatch<B>> for TextModel<B> {
    fn generator_hidden(
        &self,
        batch: &TextBatch<B>,
        corruption: &Corruption<B>,
    ) -> Option<Tensor<B, 3>> {
        let generator = self.generator.as_ref()?;
        let text = self.corrupted(batch, corruption);
        Some(generator.forward(self.embedding.forward(&text, 0), &text))
    }

    fn discriminator_logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        self.values(hidden)
    }
}

impl<B: Backend> PredictValue<B, TextBatch<B>> for TextModel<B> {
    fn values(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let Some(head) = &self.discriminator else { unreachable!("a capability only with one") };
        head.forward(hidden).squeeze_dim(2)
    }
}

impl<B: Backend> Labelled<B, TextBatch<B>> for TextModel<B> {
    /// The loss of the head for the batch's task; for an encoder-decoder the mean cross-entropy of the
    /// target. A batch without the labels that this needs counts nothing.
    fn supervised(&self, batch: &TextBatch<B>, context: &mut StepContext<'_>) -> TaskLoss<B> {
        let found = match (&batch.host.target, &batch.host.labels) {
            (Some(target), _) if self.decoder.is_some() => {
                let tokens = self.encode(batch, &Corruption::none(), None);
                self.target_loss(batch, &tokens, &target.labels).map(|loss| (loss, tokens))
            }
            (_, Some(labels)) => {
                let tokens = self.encode(batch, &Corruption::none(), None);
                let loss = self.loss_of_labels(batch, &tokens, labels, context.collect_metrics);
                loss.map(|loss| (loss, tokens))
            }
            _ => None,
        };
        match found {
            Some((loss, tokens)) => TaskLoss { loss, tokens: Some(tokens) },
            None => TaskLoss::empty(&batch.device()),
        }
    }
}

impl<B: Backend> TextModel<B> {
    /// A batch's texts with tokens masked or replaced.
    fn corrupted(&self, batch: &TextBatch<B>, corruption: &Corruption<B>) -> Text<B> {
        let mut text = batch.text.clone();
        if let Some(RandomReplacement { tokens, uniform }) = &corruption.random_replacement {
            let vocabulary = self.config().vocabulary;
            let ids = uniform.clone().mul_scalar(vocabulary as f64).int();
            let ids = ids.clamp_max(vocabulary.saturating_sub(1) as i64);
            text.ids = text.ids.mask_where(tokens.clone(), ids);
        }
        // A recipe that masks tokens of a model without a mask token is refused.
        if let (Some(masked), Some(mask)) = (&corruption.mask, self.config().special.mask) {
            text.ids = text.ids.mask_fill(masked.clone(), i64::from(mask));
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests;
