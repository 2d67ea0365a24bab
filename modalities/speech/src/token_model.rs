//! The speech model as objectives see it, and its loss with labels.

use crate::{
    batch::{Input, SpeechBatch},
    config::{AugmentConfig, TokenHeadConfig},
    frontend::Hidden,
    model::SpeechModel,
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    Backend, Layout, Loss, Quantised, Rng, StepContext, Targets, TaskLoss, TokenModel, Tokens, View,
};
use kiln_kernels::gather_tokens;

impl<B: Backend> TokenModel<B> for SpeechModel<B> {
    type Batch = SpeechBatch<B>;

    fn layout(&self, batch: &SpeechBatch<B>) -> Layout {
        let (items, frames) = match &batch.input {
            Input::Wave(wave) => {
                let [items, samples] = wave.dims();
                (items, self.frames(samples))
            }
            Input::LogMel(mel) => {
                let [items, frames, _] = mel.dims();
                (items, frames.div_ceil(2))
            }
        };
        Layout { lengths: Some(self.lengths(batch)), ..Layout::new(items, frames) }
    }

    fn device(&self, batch: &SpeechBatch<B>) -> B::Device {
        batch.input.device()
    }

    fn encode(&self, batch: &SpeechBatch<B>, view: View<B>) -> Tokens<B> {
        self.encode_hidden(batch, Hidden::view(&view), view.causal).tokens
    }

    fn encode_each(&self, batch: &SpeechBatch<B>) -> Vec<Tensor<B, 3>> {
        self.backbone.forward_each(self.embed(batch, Hidden::nothing()).1, self.config().causal)
    }

    /// Units as ids, or frames of a spectrogram as values, `[batch, frames, values]`; what a batch
    /// does not bring is missing everywhere.
    fn targets(&self, batch: &SpeechBatch<B>) -> Targets<B> {
        let device = batch.input.device();
        let Layout { batch: items, tokens, .. } = self.layout(batch);
        match (&self.config().token, &batch.units, &batch.spectrogram) {
            (Some(TokenHeadConfig::Units(_)), Some(units), _) => {
                Targets::Ids { ids: units.clone() }
            }
            (Some(TokenHeadConfig::LogMel(_)), _, Some(values)) => {
                Targets::Values { values: values.clone(), mask_missing: None }
            }
            _ => {
                let outputs = self.config().token_outputs().unwrap_or(self.config().width);
                let values = Tensor::zeros([items, tokens, outputs], &device);
                let missing = values.clone().equal_elem(0.0);
                Targets::Values { values, mask_missing: Some(missing) }
            }
        }
    }

    /// Without a token head, what comes in goes out.
    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.token_head {
            Some(head) => head.forward(values),
            None => values,
        }
    }

    fn predict_blocks(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        match self.config().token {
            Some(TokenHeadConfig::Teacher) => self.decode(values),
            _ => values,
        }
    }

    fn quantise(
        &self,
        batch: &SpeechBatch<B>,
        view: View<B>,
        picked: &[usize],
        temperature: Option<f64>,
        rng: &mut Rng,
    ) -> Option<Quantised<B>> {
        let quantiser = self.quantiser.as_ref()?;
        let encoded = self.encode_hidden(batch, Hidden::view(&view), view.causal);
        let device = batch.input.device();
        let rows: Vec<i64> = picked.iter().map(|row| *row as i64).collect();
        let rows = TensorData::new(rows, [1, picked.len()]);
        let rows = Tensor::<B, 2, Int>::from_data(rows, &device);
        let pick = |x: Tensor<B, 3>| {
            let [items, frames, width] = x.dims();
            gather_tokens(x.reshape([1, items * frames, width]), rows.clone())
                .reshape([picked.len(), width])
        };
        let coded = quantiser.forward(pick(encoded.features.normed), temperature, rng);
        let tokens = pick(encoded.tokens.values.clone());
        Some(Quantised {
            predictions: quantiser.project_tokens.forward(tokens),
            codes: quantiser.project_codes.forward(coded.codes),
            entries: coded.entries,
            usage: coded.usage,
            power: encoded.features.raw.square().mean(),
            tokens: encoded.tokens,
        })
    }

    /// The CTC loss, counted by clips. While training, frames and features are hidden as the
    /// configuration says. Models without a CTC head, and batches without labels, count nothing.
    fn supervised(&self, batch: &SpeechBatch<B>, context: &mut StepContext<'_>) -> TaskLoss<B> {
        let device = batch.input.device();
        let nothing = || TaskLoss::nothing(&device);
        let Some(labels) = &batch.labels else { return nothing() };
        let augment = self.config().augment.filter(|_| kiln_kernels::is_training::<B>(&device));
        let hidden = match augment {
            Some(augment) => self.augment(&augment, batch, context.rng),
            None => Hidden::nothing(),
        };
        let tokens = self.encode_hidden(batch, hidden, false).tokens;
        let value = self
            .logits_of(tokens.values.clone())
            .and_then(|logits| self.ctc_loss(logits, labels, &self.lengths(batch)));
        let Some(value) = value else { return nothing() };
        TaskLoss { loss: Loss::new(value, batch.samples.len()), tokens: Some(tokens) }
    }
}

impl<B: Backend> SpeechModel<B> {
    /// Draws which frames and which features are hidden.
    fn augment(&self, augment: &AugmentConfig, batch: &SpeechBatch<B>, rng: &mut Rng) -> Hidden<B> {
        let frames = self.layout(batch);
        let features = Layout::new(frames.batch, self.config().width);
        let device = batch.input.device();
        let mut draw = |spans: kiln_objectives::Spans, layout: &Layout| {
            (spans.probability > 0.0).then(|| {
                let mask =
                    TensorData::new(spans.sample(layout, rng), [layout.batch, layout.tokens]);
                Tensor::from_data(mask, &device)
            })
        };
        Hidden { tokens: draw(augment.time, &frames), features: draw(augment.features, &features) }
    }
}

#[cfg(test)]
mod tests;
