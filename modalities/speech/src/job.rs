//! Speech models as the trainer takes them.

use crate::{
    SpeechBatch, SpeechHostBatch, SpeechModel, SpeechModelConfig,
    batch::Collator,
    cost,
    data::{self, Item, Recordings, collate},
    decode::{FrameTimes, greedy},
    evaluate::evaluate,
    frontend::StemConfig,
    provide::SpeechPlan,
    recipe::SpeechSpec,
    recogniser::{self, Recogniser},
    self_training,
    spec_augment::SpecAugmentConfig,
    vocabulary::Vocabulary,
};
use kiln_core::{AutodiffBackend, Backend, HostBatch, Rng, Seed};
use kiln_hub::{Weights, adapter::Published, family};
use kiln_metrics::error_rate::{ErrorRates, Normalisation};
use kiln_objectives::RefusedObjective;
use kiln_train::{
    architecture::{Architecture, ModelSource, OpenStage, StageCost, StageSpec, ValidationSet},
    recipe::{Problem, Recipe},
    results::Evaluation,
    start::Start,
    task::{Measure, TaskError},
};
use std::{path::Path, sync::Arc};

/// Recordings a batch of validation.
const VALIDATION_BATCH: usize = 16;

/// The architecture of speech models.
#[derive(Debug)]
pub struct Speech;

/// What is known of an open stage.
pub struct SpeechStage {
    recordings: Arc<Recordings>,
    collator: Collator,
    /// The tokens of the CTC head.
    vocabulary: Option<Arc<Vocabulary>>,
    /// Whether the vocabulary begins with that of the model that the stage starts from.
    known: bool,
}

impl Architecture for Speech {
    type Spec = SpeechSpec;
    type Config = SpeechModelConfig;
    type Example = Vec<Item>;
    type HostBatch = SpeechHostBatch;
    type Data = SpeechStage;
    type Batch<B: Backend> = SpeechBatch<B>;
    type Model<B: Backend> = SpeechModel<B>;
    type Trained<B: AutodiffBackend> = SpeechModel<B>;

    fn model(recipe: &Recipe<SpeechSpec>) -> Result<ModelSource<SpeechModelConfig>, TaskError> {
        recipe.model.source(|preset| preset.config(), |config| config)
    }

    fn check_objective(stage: &StageSpec<'_, Self>) -> Result<(), RefusedObjective> {
        SpeechPlan::config(stage.config, &stage.settings.objective, None).map(|_| ())
    }

    fn check_stage(stage: &StageSpec<'_, Self>) -> Result<(), Problem> {
        let data = stage.data();
        if data.sources.is_empty() {
            let problem = "names no recordings: `spoken`, `espeak` or `manifest`";
            return Err(stage.data_problem("sources", problem));
        }
        if let Some(settings) = &data.self_training {
            let transcribes = stage.settings.objective.is_supervised();
            let problem = self_training::mismatch(settings, stage.has_start(), transcribes);
            if let Some(problem) = problem {
                return Err(stage.data_problem("self_training", &problem));
            }
        }
        let Some(spec_augment) = data.spec_augment.filter(SpecAugmentConfig::is_used) else {
            return Ok(());
        };
        spec_augment.validate().map_err(|error| {
            let key = format!("spec_augment.{}", error.key);
            Problem::new(stage.recipe.data_key(stage.number, &key), error.to_string())
        })?;
        if matches!(stage.config.frontend.stem, StemConfig::Wave(_)) {
            let problem = "is for models that take log-mel spectrograms; this one takes waves, for \
                           which there is `data.augmentation`";
            return Err(stage.data_problem("spec_augment", problem));
        }
        Ok(())
    }

    fn plan(
        stage: &StageSpec<'_, Self>,
        _before: Option<&SpeechModelConfig>,
        _init: Option<&Path>,
    ) -> Result<StageCost<SpeechModelConfig>, TaskError> {
        let config = SpeechPlan::config(stage.config, &stage.settings.objective, None)?;
        let data = stage.data();
        let pool = data::choose(data, config.audio.sample_rate, stage.seed())?;
        let examples = pool.len().saturating_sub(data.validation);
        Ok(cost::of_stage(config, data, stage.settings.batch, examples as u64))
    }

    fn open(
        stage: &StageSpec<'_, Self>,
        start: Option<&Start>,
    ) -> Result<OpenStage<Self>, TaskError> {
        let known = start.filter(|start| Vocabulary::is_in(&start.dir));
        let known = known.map(|start| Vocabulary::read(&start.dir, None)).transpose()?;
        let objective = stage.settings.objective.clone();
        let transcribe = objective.is_supervised();
        let base = SpeechPlan::config(stage.config, &objective, None)?;
        let (source, seed) = (stage.data(), stage.seed());
        let taught = match (&source.self_training, start) {
            (Some(settings), Some(start)) => {
                let teacher = Recogniser::open(&start.dir, stage.recipe.device)?;
                Some(self_training::transcribe(settings, source, &teacher, seed)?)
            }
            _ => None,
        };
        let data = data::open(source, &base, known.as_ref(), transcribe, taught, seed)?;
        let config = SpeechPlan::config(stage.config, &objective, data.vocabulary.as_deref())?;
        let validation = data.validation.all().map(|item| vec![item]).collect();
        Ok(OpenStage {
            objective,
            train: data.train.clone(),
            // The source draws its own order, so that recordings of a length can be kept together.
            shuffle: false,
            validation: ValidationSet::only(validation),
            validation_batch: VALIDATION_BATCH,
            data: SpeechStage {
                recordings: data.train,
                collator: Collator::new(&config)?,
                vocabulary: data.vocabulary,
                known: known.is_some(),
            },
            config,
        })
    }

    fn init<B: AutodiffBackend>(
        config: SpeechModelConfig,
        device: &B::Device,
    ) -> Result<SpeechModel<B>, TaskError> {
        Ok(SpeechModel::new(config, device)?)
    }

    fn read_weights<B: AutodiffBackend>(
        stage: &OpenStage<Self>,
        dir: &Path,
        _whole: bool,
        model: &SpeechModel<B>,
        _device: &B::Device,
    ) -> Result<Weights, TaskError> {
        let (_, mut weights) = family::read::<SpeechModelConfig>(dir)?;
        fit_head(&mut weights, &kiln_hub::collect::<B, _>(model)?, stage.data.known);
        Ok(weights)
    }

    fn collate(
        stage: &OpenStage<Self>,
        examples: &[Vec<Item>],
        rng: &mut Rng,
    ) -> Result<Option<SpeechHostBatch>, TaskError> {
        let mut batch = collate(&stage.data.collator, examples.iter().flatten())?;
        if let (Some(batch), Some(augment)) = (&mut batch, &stage.config.augment)
            && stage.objective.is_supervised()
        {
            batch.mask = augment.draw(&batch.layout, stage.config.width, rng);
        }
        Ok(batch)
    }

    fn host<'a>(_: &'a OpenStage<Self>, batch: &'a SpeechHostBatch) -> Box<dyn HostBatch + 'a> {
        Box::new(batch)
    }

    fn tokens(_: &OpenStage<Self>, batch: &SpeechHostBatch) -> usize {
        batch.layout.visible_tokens()
    }

    fn upload<B: Backend>(
        _stage: &OpenStage<Self>,
        batch: SpeechHostBatch,
        device: &B::Device,
    ) -> SpeechBatch<B> {
        batch.upload(device)
    }

    fn measures<B: Backend>(
        stage: &OpenStage<Self>,
        model: &SpeechModel<B>,
        loss: Vec<Measure>,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let rates = error_rates(stage, model, device)?;
        let rates = [Measure::of("wer", rates.wer()), Measure::of("cer", rates.cer())];
        let mut measures: Vec<Measure> = rates.into_iter().flatten().chain(loss).collect();
        if !measures.is_empty() {
            let bad = stage.data.recordings.bad().count() as f64;
            measures.extend(Measure::of("bad_recordings", Some(bad)));
        }
        Ok(measures)
    }

    fn write<B: Backend>(
        stage: &OpenStage<Self>,
        model: &SpeechModel<B>,
        dir: &Path,
    ) -> Result<(), TaskError> {
        model.save(dir)?;
        if let Some(vocabulary) = &stage.data.vocabulary {
            vocabulary.write(dir)?;
        }
        Ok(())
    }

    fn published(config: &SpeechModelConfig) -> Result<Option<Published>, TaskError> {
        Ok(family::published(config)?)
    }

    fn layer_index(config: &SpeechModelConfig, parameter: &str) -> Option<(usize, usize)> {
        config.layer_index(parameter)
    }

    fn evaluate(
        recipe: &Recipe<SpeechSpec>,
        model: &Path,
        seed: Seed,
    ) -> Result<Evaluation, TaskError> {
        evaluate(recipe, model, seed)
    }
}

/// Error rates of the transcripts of validation recordings; of nothing where the model does not
/// learn to transcribe.
fn error_rates<B: Backend>(
    stage: &OpenStage<Speech>,
    model: &SpeechModel<B>,
    device: &B::Device,
) -> Result<ErrorRates, TaskError> {
    let mut rates = ErrorRates::new(Normalisation::none());
    let vocabulary = stage.data.vocabulary.as_ref().filter(|_| stage.objective.is_supervised());
    let Some(vocabulary) = vocabulary else { return Ok(rates) };
    let batches = stage.validation.iter().flat_map(|set| set.examples.chunks(VALIDATION_BATCH));
    for examples in batches {
        let Some(host) = collate(&stage.data.collator, examples.iter().flatten())? else {
            continue;
        };
        let batch = host.upload::<B>(device);
        let items = || examples.iter().flatten();
        let waves: Vec<&[f32]> = items().map(|item| &item.wave[..]).collect();
        let found = recogniser::log_probs(model, &batch, &waves)?;
        for (log_probs, item) in found.iter().zip(items()) {
            let decoded = greedy(vocabulary, log_probs.view(), FrameTimes::new(1.0))?;
            rates.add(item.text.as_deref().unwrap_or_default(), decoded.text());
        }
    }
    Ok(rates)
}

/// Lets the head that transcribes grow with its vocabulary: old tokens keep their weights, new ones
/// start at random. A head for tokens that nobody knows is dropped.
fn fit_head(weights: &mut Weights, model: &Weights, known: bool) {
    for name in ["ctc.weight", "ctc.bias"] {
        if !known {
            weights.tensors.remove(name);
        }
        let (Some(old), Some(new)) = (weights.tensors.get_mut(name), model.tensors.get(name))
        else {
            continue;
        };
        let (Some(&from), Some(&to)) = (old.shape.last(), new.shape.last()) else { continue };
        if from == 0 || from >= to {
            continue;
        }
        let mut grown = new.clone();
        for (new, old) in grown.values.chunks_exact_mut(to).zip(old.values.chunks_exact(from)) {
            new[..from].copy_from_slice(old);
        }
        *old = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_hub::Weight;

    #[test]
    fn heads_grow_behind_their_old_tokens() {
        let weights = |columns: usize, value: f32| {
            let weight = Weight { shape: vec![2, columns], values: vec![value; 2 * columns] };
            let bias = Weight { shape: vec![columns], values: vec![value; columns] };
            let named = [("ctc.weight", weight), ("ctc.bias", bias)];
            Weights {
                tensors: named.map(|(name, weight)| (name.to_owned(), weight)).into(),
                ..Weights::default()
            }
        };
        let mut old = weights(2, 1.0);
        fit_head(&mut old, &weights(3, 7.0), true);
        assert_eq!(old.tensors["ctc.weight"].values, [1.0, 1.0, 7.0, 1.0, 1.0, 7.0]);
        assert_eq!(old.tensors["ctc.bias"].values, [1.0, 1.0, 7.0]);
        fit_head(&mut old, &weights(3, 7.0), false);
        assert!(old.tensors.is_empty());
    }
}
