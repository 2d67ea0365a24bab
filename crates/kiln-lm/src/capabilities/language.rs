//! Reading and generating: sequence-to-sequence pairs and sampled completions of the text model.

use crate::{
    batch::Text,
    examples::{Example, TextBatch, collate},
    generate::{Choice, Generation, Sampling, Verdict},
    model::TextModel,
};
use burn::{
    module::Module as _,
    tensor::{Int, Tensor},
};
use kiln_core::{
    AttentionVisibility, Backend, Completions, HostBatch as _, Labelled as _, Lack, Language,
    Layout, Loss, Seed, SourceTarget, StepContext,
};
use kiln_objectives::next_token_loss;

impl<B: Backend> Language<B, TextBatch<B>> for TextModel<B> {
    fn seq2seq_loss(
        &self,
        batch: &TextBatch<B>,
        pairs: Vec<SourceTarget>,
        prefix_lm: bool,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let config = self.config();
        let prefixes: Vec<i64> = pairs.iter().map(|one| one.source.len() as i64).collect();
        let ended = |mut one: SourceTarget| {
            one.target.extend(config.special.eos);
            one
        };
        let pairs: Vec<SourceTarget> = pairs.into_iter().map(ended).collect();
        if config.decoder.is_some() {
            let example = |one: SourceTarget| Example {
                ids: one.source,
                target: Some(one.target),
                ..Example::default()
            };
            let examples: Vec<Example> = pairs.into_iter().map(example).collect();
            return Ok(self.supervised(&self.batch_of(&examples, batch), context).loss);
        }
        let batch = self.completions(batch, pairs);
        let loss_mask = batch.host.layout.loss_mask.as_deref().unwrap_or_default();
        let attention = if prefix_lm {
            AttentionVisibility::prefix(Tensor::from_data(&prefixes[..], &batch.device()))
        } else {
            AttentionVisibility::causal()
        };
        next_token_loss(self, &batch, &attention, loss_mask, context.collect_metrics)
    }

    fn sample_completions(
        &self,
        batch: &TextBatch<B>,
        num_generations: usize,
        max_new_tokens: usize,
        seed: Seed,
    ) -> Result<Option<Completions<TextBatch<B>>>, Lack> {
        let Layout { tokens, loss_mask, .. } = &batch.host.layout;
        let masks = loss_mask.as_deref().unwrap_or_default().chunks((*tokens).max(1));
        let asked = batch.token_ids().into_iter().zip(masks);
        let asked: Vec<SourceTarget> =
            asked.filter_map(|(ids, mask)| SourceTarget::last_completion(&ids, mask)).collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let each = |one: &SourceTarget| std::iter::repeat_n(one.source.clone(), num_generations);
        let prompts: Vec<Vec<u32>> = asked.iter().flat_map(each).collect();
        // A completion is read again with its prompt, for which there must be positions.
        let prompt = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let longest =
            self.config().longest().map_or(max_new_tokens, |all| all.saturating_sub(prompt));
        let choice = Choice::Sample(Sampling::default());
        let generation =
            Generation { max_new_tokens: max_new_tokens.min(longest), choice, cache: true };
        let sampler = self.clone().no_grad();
        let device = batch.device();
        let sampled = sampler.generate(&prompts, &generation, seed, &device, |_, _| Verdict::GoOn);
        let mut sampled = sampled.map_err(|error| {
            Lack::new(format!("needs a model that samples completions: {error}"))
        })?;
        for completion in sampled.iter_mut().filter(|one| one.len() < generation.max_new_tokens) {
            completion.extend(self.config().special.eos);
        }
        let pairs = prompts.into_iter().zip(sampled.clone());
        let pairs = pairs.map(|(source, target)| SourceTarget { source, target }).collect();
        let references = asked.into_iter().map(|one| one.target).collect();
        let batch = self.completions(batch, pairs);
        Ok(Some(Completions { layout: batch.layout(), batch, sampled, references }))
    }

    fn with_ids(&self, batch: &TextBatch<B>, ids: Tensor<B, 2, Int>) -> TextBatch<B> {
        let text = Text { ids, ..batch.text.clone() };
        TextBatch { text, ..batch.clone() }
    }

    fn split_half(&self, batch: &TextBatch<B>) -> Option<[TextBatch<B>; 2]> {
        let halves = batch.host.halves()?;
        Some(halves.map(|half| self.batch_of(&half, batch)))
    }
}

impl<B: Backend> TextModel<B> {
    /// Examples as a batch, where another lies.
    fn batch_of(&self, examples: &[Example], beside: &TextBatch<B>) -> TextBatch<B> {
        let config = self.config();
        collate(examples, &config.special).upload::<B>(&config.embedding, &beside.device())
    }

    /// A batch of completions after their prompts, one sequence each; the loss mask has the
    /// completions.
    fn completions(&self, batch: &TextBatch<B>, pairs: Vec<SourceTarget>) -> TextBatch<B> {
        let example = |SourceTarget { source, target }: SourceTarget| {
            let loss_mask = [vec![false; source.len()], vec![true; target.len()]].concat();
            Example { ids: [source, target].concat(), loss_mask, ..Example::default() }
        };
        let examples: Vec<Example> = pairs.into_iter().map(example).collect();
        self.batch_of(&examples, batch)
    }
}
