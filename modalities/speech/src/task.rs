//! A stage of training on speech, as the trainer sees it.

use crate::{
    SpeechBatch, SpeechHostBatch, SpeechModel, SpeechModelConfig,
    batch::Collator,
    data::{Item, Recordings, collate},
    decode::{FrameTimes, greedy},
    hub,
    metrics::ErrorRates,
    recogniser,
    transcript::Normalisation,
    vocabulary::Vocabulary,
};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Backend, Loss, LossMean, Seed, StepContext, Teacher};
use kiln_hub::adapter::Published;
use kiln_objectives::Objective;
use kiln_train::task::{Measure, Task, TaskError, TaskSource};
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
    /// What random numbers of validation follow from.
    pub seed: Seed,
}

impl SpeechTask {
    /// The mean loss over the validation set, with the same random numbers each time, and the
    /// error rates of its transcripts where the model transcribes.
    fn measure<B: Backend>(
        &self,
        model: &SpeechModel<B>,
        teacher: Option<&SpeechModel<B>>,
        device: &B::Device,
    ) -> Result<(f64, ErrorRates), TaskError> {
        let mut mean = LossMean::default();
        let mut rates = ErrorRates::new(Normalisation::none());
        let vocabulary = self.vocabulary.as_ref().filter(|_| self.objective.is_supervised());
        for (number, items) in self.validation.chunks(VALIDATION_BATCH).enumerate() {
            let Some(host) = collate(&self.collator, items)? else { continue };
            let batch = host.upload::<B>(device);
            let mut rng = self.seed.part("validation").at(number as u64).rng();
            let mut context = StepContext::new(&mut rng);
            mean.add(&self.objective.loss(model, teacher, &batch, &mut context));
            if let Some(vocabulary) = vocabulary {
                self.transcribe(model, &batch, items, vocabulary, &mut rates)?;
            }
        }
        Ok((mean.mean(), rates))
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
    ) -> Loss<B> {
        match batch {
            Some(batch) => self.objective.loss(model, teacher, &batch.upload::<B>(device), context),
            None => Loss::nothing(device),
        }
    }

    fn validate(
        &self,
        model: &<SpeechModel<B> as AutodiffModule<B>>::InnerModule,
        teacher: Option<&<SpeechModel<B> as AutodiffModule<B>>::InnerModule>,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        if self.validation.is_empty() {
            return Ok(Vec::new());
        }
        let (loss, rates) = self.measure(model, teacher, device)?;
        let named = |name: &str, value| Measure { name: name.into(), value };
        let mut measures = Vec::new();
        if let (Some(wer), Some(cer)) = (rates.wer(), rates.cer()) {
            measures.extend([named("wer", wer), named("cer", cer)]);
        }
        measures.push(named("loss", loss));
        measures.push(named("bad_recordings", self.train.bad().count() as f64));
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
        Ok(hub::published(&self.config)?)
    }

    fn depth(&self, parameter: &str) -> Option<(usize, usize)> {
        self.config.depth(parameter)
    }
}
