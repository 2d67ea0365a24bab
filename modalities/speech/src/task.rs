//! A stage of training on speech, as the trainer sees it.

use crate::{
    SpeechBatch, SpeechHostBatch, SpeechModel, SpeechModelConfig,
    batch::Collator,
    data::{Item, Recordings, collate},
    decode::{FrameTimes, greedy},
    hub, recogniser,
    transcript::Normalisation,
    vocabulary::Vocabulary,
};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Backend, Loss, Model, Seed, StepContext, Teacher};
use kiln_hub::{adapter::Published, family};
use kiln_metrics::error_rate::{ErrorRates, Normalisation};
use kiln_objectives::{Objective, Validation};
use kiln_train::task::{LOSS, Measure, Task, TaskError, TaskSource};
use std::{path::Path, sync::Arc};

/// Recordings a batch of validation.
const VALIDATION_BATCH: usize = 16;

/// A stage of training on speech.
pub struct SpeechTask {
    /// Training examples.
    pub train: Arc<Recordings>,
    /// Recordings set aside.
    pub validation: Vec<Item>,
    /// What is optimised.
    pub objective: Objective,
    /// The model's configuration.
    pub config: SpeechModelConfig,
    /// Puts recordings together.
    pub collator: Collator,
    /// The tokens of the CTC head.
    pub vocabulary: Option<Arc<Vocabulary>>,
}

impl SpeechTask {
    /// Takes the validation set in, and measures the error rates of its transcripts where the model
    /// transcribes.
    fn measure<B: Backend>(
        &self,
        model: &SpeechModel<B>,
        teacher: Option<&SpeechModel<B>>,
        validation: &mut Validation<'_>,
        device: &B::Device,
    ) -> Result<ErrorRates, TaskError> {
        let mut rates = ErrorRates::new(Normalisation::none());
        let vocabulary = self.vocabulary.as_ref().filter(|_| self.objective.is_supervised());
        for items in self.validation.chunks(VALIDATION_BATCH) {
            let Some(host) = collate(&self.collator, items)? else { continue };
            let batch = host.upload::<B>(device);
            let teacher = teacher.map(|teacher| teacher as &dyn Model<_, Batch = _>);
            validation.add(model, teacher, &batch)?;
            if let Some(vocabulary) = vocabulary {
                self.transcribe(model, &batch, items, vocabulary, &mut rates)?;
            }
        }
        Ok(rates)
    }

    fn transcribe<B: Backend>(
        &self,
        model: &SpeechModel<B>,
        batch: &SpeechBatch<B>,
        items: &[Item],
        vocabulary: &Vocabulary,
        rates: &mut ErrorRates,
    ) -> Result<(), TaskError> {
        let waves: Vec<&[f32]> = items.iter().map(|item| &item.wave[..]).collect();
        let found = recogniser::log_probs(model, batch, &waves)?;
        for (log_probs, item) in found.iter().zip(items) {
            let decoded = greedy(vocabulary, log_probs.view(), FrameTimes::new(1.0))?;
            rates.add(item.text.as_deref().unwrap_or_default(), decoded.text());
        }
        Ok(())
    }
}

impl<B: AutodiffBackend> Task<B> for SpeechTask {
    type Model = SpeechModel<B>;
    type Example = Vec<Item>;
    type HostBatch = Option<SpeechHostBatch>;

    fn source(&self) -> TaskSource<Vec<Item>> {
        self.train.clone()
    }

    /// The source draws its own order, so that recordings of a length can be kept together.
    fn shuffle(&self) -> bool {
        false
    }

    fn collate(&self, examples: Vec<Vec<Item>>) -> Result<Self::HostBatch, TaskError> {
        let items: Vec<Item> = examples.into_iter().flatten().collect();
        Ok(collate(&self.collator, &items)?)
    }

    fn tokens(&self, batch: &Self::HostBatch) -> usize {
        let samples = batch.iter().flat_map(|batch| &batch.samples);
        samples.map(|samples| self.config.frames(*samples)).sum()
    }

    fn teacher(&self) -> Option<Teacher> {
        self.objective.teacher()
    }

    fn loss(
        &self,
        model: &SpeechModel<B>,
        teacher: Option<&SpeechModel<B>>,
        batch: Self::HostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError> {
        match batch {
            Some(batch) => {
                let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
                Ok(self.objective.loss(model, teacher, &batch.upload::<B>(device), context)?)
            }
            None => Ok(Loss::empty(device)),
        }
    }

    fn validate(
        &self,
        model: &<SpeechModel<B> as AutodiffModule<B>>::InnerModule,
        teacher: Option<&<SpeechModel<B> as AutodiffModule<B>>::InnerModule>,
        seed: Seed,
        step: u64,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let mut validation = Validation::new(&self.objective, seed, step);
        let rates = self.measure(model, teacher, &mut validation, device)?;
        let of_loss = Measure::of(LOSS, validation.loss());
        let measures = [Measure::of("wer", rates.wer()), Measure::of("cer", rates.cer()), of_loss];
        let mut measures: Vec<Measure> = measures.into_iter().flatten().collect();
        if !measures.is_empty() {
            let bad = self.train.bad().count() as f64;
            measures.extend(Measure::of("bad_recordings", Some(bad)));
        }
        Ok(measures)
    }

    fn write_model(
        &self,
        model: &<SpeechModel<B> as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError> {
        model.save(dir)?;
        if let Some(vocabulary) = &self.vocabulary {
            vocabulary.write(dir)?;
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
