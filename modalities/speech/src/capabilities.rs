//! The speech model as objectives see it, and its loss with labels.

use crate::{batch::SpeechBatch, config::TokenHeadConfig, frontend::Mask, model::SpeechModel};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, EmbedGroups, Encode, HiddenStates,
    Labelled, Loss, Model, PredictTokens, Quantize, Quantized, Rng, StepContext, TaskLoss,
    TokenTargets, Tokens,
};
use kiln_kernels::gather_tokens;

impl<B: Backend> Model<B> for SpeechModel<B> {
    type Batch = SpeechBatch<B>;

    fn device(&self, batch: &SpeechBatch<B>) -> B::Device {
        batch.input.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, SpeechBatch<B>> {
        let predicts = self.token_head.is_some() && !self.predicts_teacher();
        Capabilities {
            encode: Some(self),
            predict_tokens: predicts.then_some(self as _),
            hidden_states: Some(self),
            embed_groups: Some(self),
            labelled: self.config().ctc.as_ref().map(|_| self as _),
            quantize: self.quantizer.as_ref().map(|_| self as _),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, SpeechBatch<B>> for SpeechModel<B> {
    fn encode(
        &self,
        batch: &SpeechBatch<B>,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let causal = attention.is_some_and(AttentionVisibility::is_causal);
        self.encode_masked(batch, Mask::of(corruption), causal).tokens
    }
}

impl<B: Backend> PredictTokens<B, SpeechBatch<B>> for SpeechModel<B> {
    /// Units as ids, or frames of a spectrogram as values, `[batch, frames, values]`, as the head
    /// predicts them.
    fn targets(&self, batch: &SpeechBatch<B>) -> Vec<TokenTargets<B>> {
        match (&self.config().token, &batch.units, &batch.spectrogram) {
            (Some(TokenHeadConfig::Units(_)), Some(units), _) => {
                vec![TokenTargets::Ids { ids: units.clone() }]
            }
            (Some(TokenHeadConfig::LogMel(_)), _, Some(values)) => {
                vec![TokenTargets::Values { values: values.clone(), mask_missing: None }]
            }
            _ => Vec::new(),
        }
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.project_tokens(hidden)
    }
}

impl<B: Backend> HiddenStates<B, SpeechBatch<B>> for SpeechModel<B> {
    fn hidden_states(&self, batch: &SpeechBatch<B>) -> Vec<Tensor<B, 3>> {
        self.backbone.forward_each(self.embed(batch, Mask::none()).1, self.config().causal)
    }

    fn predict_teacher(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        if self.predicts_teacher() { self.project_tokens(hidden) } else { hidden }
    }
}

impl<B: Backend> EmbedGroups<B, SpeechBatch<B>> for SpeechModel<B> {
    /// The mean over frames.
    fn embeddings(&self, batch: &SpeechBatch<B>, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        vec![self.encode(batch, corruption, None).mean()]
    }
}

impl<B: Backend> Quantize<B, SpeechBatch<B>> for SpeechModel<B> {
    fn quantize(
        &self,
        batch: &SpeechBatch<B>,
        corruption: &Corruption<B>,
        picked: &[usize],
        temperature: Option<f64>,
        rng: &mut Rng,
    ) -> Quantized<B> {
        let Some(quantizer) = &self.quantizer else { unreachable!("a capability only with one") };
        let encoded = self.encode_masked(batch, Mask::of(corruption), false);
        let device = batch.input.device();
        let rows: Vec<i64> = picked.iter().map(|row| *row as i64).collect();
        let rows = TensorData::new(rows, [1, picked.len()]);
        let rows = Tensor::<B, 2, Int>::from_data(rows, &device);
        let pick = |x: Tensor<B, 3>| {
            let [items, frames, width] = x.dims();
            gather_tokens(x.reshape([1, items * frames, width]), rows.clone())
                .reshape([picked.len(), width])
        };
        let coded = quantizer.forward(pick(encoded.features.normed), temperature, rng);
        let tokens = pick(encoded.tokens.values.clone());
        Quantized {
            predictions: quantizer.project_tokens.forward(tokens),
            codes: quantizer.project_codes.forward(coded.codes),
            entries: coded.entries,
            usage: coded.usage,
            power: encoded.features.raw.square().mean(),
            tokens: encoded.tokens,
        }
    }
}

impl<B: Backend> Labelled<B, SpeechBatch<B>> for SpeechModel<B> {
    /// The CTC loss, counted by clips. While training, frames and features are masked as they were
    /// drawn for the batch. Models without a CTC head, and batches without labels, count nothing.
    fn supervised(&self, batch: &SpeechBatch<B>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let device = batch.input.device();
        let nothing = || TaskLoss::empty(&device);
        let Some(labels) = &batch.labels else { return nothing() };
        let training = kiln_kernels::is_training::<B>(&device);
        let mask = if training { batch.mask.clone() } else { Mask::none() };
        let tokens = self.encode_masked(batch, mask, false).tokens;
        let value = self
            .logits_of(tokens.values.clone())
            .and_then(|logits| self.ctc_loss(logits, labels, &self.lengths(batch)));
        let Some(value) = value else { return nothing() };
        TaskLoss { loss: Loss::new(value, batch.samples.len()), tokens: Some(tokens) }
    }
}

impl<B: Backend> SpeechModel<B> {
    /// Whether the token head predicts a teacher's hidden states (data2vec).
    fn predicts_teacher(&self) -> bool {
        self.config().token == Some(TokenHeadConfig::Teacher)
    }

    /// The token head: `[batch, frames, width]` to `[batch, frames, outputs]`.
    fn project_tokens(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.token_head {
            Some(head) => head.forward(hidden),
            None => hidden,
        }
    }
}

#[cfg(test)]
mod tests;
