//! A stage of training on text, as the trainer sees it.

use crate::{data::Held, embed, labelled::RankingWords, recipe::RankingWords};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Backend, Loss, Model, Seed, StepContext, Teacher};
use kiln_hub::{adapter::Published, family};
use kiln_lm::{
    TextModel, TextModelConfig,
    examples::{Example, TextHostBatch, collate},
    hub,
};
use kiln_objectives::{Objective, Validation};
use kiln_tokenize::TextTokenizer;
use kiln_train::task::{LOSS, Measure, Task, TaskError, TaskSource};
use std::{path::Path, sync::Arc};

/// Sequences looked at in a validation, at most.
const VALIDATED: usize = 256;

/// A stage of training on text.
pub struct TextTask {
    /// Training sequences.
    pub train: TaskSource<Example>,
    /// Whether their order is drawn anew each epoch.
    pub shuffle: bool,
    /// What is kept for validation.
    pub validation: Vec<Held>,
    /// What is optimised.
    pub objective: Objective,
    /// The model's configuration.
    pub config: TextModelConfig,
    /// How text became ids; written beside the model.
    pub tokenizer: Arc<TextTokenizer>,
    /// How relevance is said in words, where that is learnt; written beside the model.
    pub ranking: Option<RankingWords>,
    /// Sequences of a batch.
    pub batch: usize,
}

impl TextTask {
    /// The mean loss over validation sequences; `None` where nothing counts.
    fn measure<B: Backend>(
        &self,
        held: &[Example],
        model: &TextModel<B>,
        teacher: Option<&TextModel<B>>,
        seed: Seed,
        step: u64,
        device: &B::Device,
    ) -> Result<Option<f64>, TaskError> {
        let mut validation = Validation::new(&self.objective, seed, step);
        // Spread over all, so that each source has its part.
        let most = VALIDATED / self.validation.len().clamp(1, VALIDATED);
        let stride = held.len().div_ceil(most).max(1);
        let chosen: Vec<Example> = held.iter().step_by(stride).cloned().collect();
        for examples in chosen.chunks(self.batch.max(1)) {
            let host = collate(examples, &self.config.special);
            let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
            validation.add(model, teacher, &host.upload(&self.config.embedding, device))?;
        }
        Ok(validation.loss())
    }
}

impl<B: AutodiffBackend> Task<B> for TextTask {
    type Model = TextModel<B>;
    type Example = Example;
    type HostBatch = TextHostBatch;

    fn source(&self) -> TaskSource<Example> {
        self.train.clone()
    }

    fn shuffle(&self) -> bool {
        self.shuffle
    }

    fn collate(&self, examples: Vec<Example>) -> Result<TextHostBatch, TaskError> {
        Ok(collate(&examples, &self.config.special))
    }

    fn tokens(&self, batch: &TextHostBatch) -> usize {
        batch.tokens()
    }

    fn kind<'a>(&self, batch: &'a TextHostBatch) -> Option<&'a str> {
        batch.task.as_deref()
    }

    fn teacher(&self) -> Option<Teacher> {
        self.objective.teacher()
    }

    fn loss(
        &self,
        model: &TextModel<B>,
        teacher: Option<&TextModel<B>>,
        batch: TextHostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError> {
        let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
        let batch = batch.upload::<B>(&self.config.embedding, device);
        Ok(self.objective.loss(model, teacher, &batch, context)?)
    }

    fn validate(
        &self,
        model: &<TextModel<B> as AutodiffModule<B>>::InnerModule,
        teacher: Option<&<TextModel<B> as AutodiffModule<B>>::InnerModule>,
        seed: Seed,
        step: u64,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let mut each: Vec<Measure> = Vec::new();
        for held in &self.validation {
            let value = self.measure(&held.examples, model, teacher, seed, step, device)?;
            each.extend(Measure::of(&format!("{LOSS}-{}", held.name), value));
        }
        if each.is_empty() {
            return Ok(each);
        }
        // Each task counts alike, whatever its losses are means over.
        let value = each.iter().map(|one| one.value).sum::<f64>() / each.len() as f64;
        let parts = each.into_iter().filter(|_| self.validation.len() > 1);
        Ok(std::iter::once(Measure { name: LOSS.into(), value }).chain(parts).collect())
    }

    fn write_model(
        &self,
        model: &<TextModel<B> as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError> {
        model.save(dir)?;
        self.tokenizer.write(dir)?;
        if let Some(ranking) = &self.ranking {
            ranking.write(dir)?;
        }
        let embeds = |one: &Objective| matches!(one, Objective::InfoNce(_) | Objective::Cosent(_));
        let config = model.config();
        // Other tools then pool as it was trained to; of a layer above the pooling they know nothing.
        if self.objective.has(embeds) && config.pooler.is_none() {
            let (width, pooling) = (config.width, config.default_pooling());
            embed::write_sentence_files(dir, width, pooling, config.longest(), true)?;
        }
        Ok(())
    }

    fn published(&self) -> Result<Option<Published>, TaskError> {
        Ok(family::published(&self.config)?)
    }

    fn depth(&self, parameter: &str) -> Option<(usize, usize)> {
        self.config.depth(parameter)
    }
}
