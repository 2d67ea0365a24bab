//! A speech recipe at work.

use crate::{
    SpeechModel, SpeechModelConfig,
    batch::Collator,
    cost, data,
    distortion::DistortionConfig,
    evaluate::evaluate,
    frontend::StemConfig,
    provide::SpeechPlan,
    recipe::{ModelSpec, SpeechParts},
    recogniser::Recogniser,
    self_training,
    task::SpeechTask,
    vocabulary::Vocabulary,
};
use kiln_core::{AutodiffBackend, Seed};
use kiln_hub::{Weights, family};
use kiln_train::{
    dispatch::{self, Cpu, OnBackend},
    modality::{Job, Prepared, StagePlan},
    recipe::{Bare, Common, Recipe, RecipeError, RecipeText, Stage, parse, resolved},
    results::Evaluation,
    start::{self, Counts, Start, resolve},
    task::TaskError,
    task_learner::stage_seed,
};
use std::path::{Path, PathBuf};

/// A recipe that was understood.
pub struct SpeechJob {
    recipe: Recipe<SpeechParts>,
    common: Common,
    config: SpeechModelConfig,
    /// The model directory that `model.directory` names.
    directory: Option<PathBuf>,
}

impl SpeechJob {
    /// Reads a recipe and resolves its model.
    ///
    /// # Errors
    /// When the recipe has a mistake, or names a model that cannot be found.
    pub fn new(text: &RecipeText) -> kiln_train::Result<Self> {
        let recipe = parse::<SpeechParts>(text)?;
        let (part, config, directory) = match &recipe.model {
            ModelSpec::Preset(preset) => ("preset", preset.config(), None),
            ModelSpec::Parts(config) => {
                ("parts", config.validate().map(|()| config.as_ref().clone()), None)
            }
            ModelSpec::Directory(name) => {
                let dir = resolve(name)?;
                ("directory", Ok(family::read_config(&dir).map_err(boxed)?), Some(dir))
            }
        };
        let wrong = |key: &str, problem: String| {
            kiln_train::Error::from(RecipeError::at(text, key, problem))
        };
        let config = config
            .map_err(|error| wrong(&format!("model.{part}.{}", error.key), error.to_string()))?;
        for (number, stage) in recipe.stage.iter().enumerate() {
            SpeechPlan::config(&config, &stage.objective, None)
                .map_err(|refused| wrong(&refused.key_of(number), refused.problem))?;
            let data = recipe.data_of(stage);
            let of_data = |key: &str, problem: &str| {
                let key = recipe.data_key(number, key);
                wrong(&key, format!("`{key}` {problem}"))
            };
            if data.sources.is_empty() {
                let problem = "names no recordings: `spoken`, `espeak` or `manifest`";
                return Err(of_data("sources", problem));
            }
            if let Some(settings) = &data.self_training {
                let starts = number > 0 || stage.init.is_some() || directory.is_some();
                let transcribes = stage.objective.is_supervised();
                if let Some(problem) = self_training::mismatch(settings, starts, transcribes) {
                    return Err(of_data("self_training", &problem));
                }
            }
            if let Some(distortion) = data.distortion.filter(DistortionConfig::is_used) {
                distortion.validate().map_err(|error| {
                    let key = recipe.data_key(number, &format!("distortion.{}", error.key));
                    wrong(&key, error.to_string())
                })?;
                if matches!(config.frontend.stem, StemConfig::Wave(_)) {
                    let problem = "is for models that take log-mel spectrograms; this one takes \
                                   waves, for which there is `data.augmentation`";
                    return Err(of_data("distortion", problem));
                }
            }
        }
        Ok(Self { common: recipe.common(), recipe, config, directory })
    }
}

fn boxed(error: impl Into<TaskError>) -> TaskError {
    error.into()
}

impl Job for SpeechJob {
    fn common(&self) -> &Common {
        &self.common
    }

    fn resolved(&self) -> kiln_train::Result<String> {
        Ok(resolved(&self.recipe)?)
    }

    fn plan(&self) -> kiln_train::Result<Vec<StagePlan>> {
        let mut plans = Vec::with_capacity(self.recipe.stage.len());
        for stage in &self.recipe.stage {
            let config = SpeechPlan::config(&self.config, &stage.objective, None).map_err(boxed)?;
            // Only where gradients are recorded do parameters know whether they are trained.
            let model =
                SpeechModel::<Cpu>::new(config.clone(), &Default::default()).map_err(boxed)?;
            let depth = |name: &str| config.depth(name);
            let Counts { parameters, trainable, backward } = start::count(&model, stage, depth)?;
            if let Some(init) = &stage.init {
                Start::find(init)?;
            }
            let data = self.recipe.data_of(stage);
            let pool = data::choose(data, config.audio.sample_rate, self.recipe.data_seed());
            let examples = pool.map_err(boxed)?.len().saturating_sub(data.validation);
            plans.push(StagePlan {
                name: stage.name.clone(),
                parameters,
                trainable,
                flops_per_step: cost::step_flops(&config, data, stage, backward),
                tokens_per_step: cost::step_tokens(&config, data, stage),
                memory: cost::step_memory(&config, data, stage, parameters, trainable),
                examples: Some(examples as u64),
            });
        }
        Ok(plans)
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> kiln_train::Result<Prepared> {
        let missing = || boxed(format!("the recipe has no stage {stage}"));
        let settings = self.recipe.stage.get(stage).ok_or_else(missing)?;
        let start = Start::of(settings, from, self.directory.as_deref())?;
        let known = start.as_ref().filter(|start| Vocabulary::is_in(&start.dir));
        let known = known.map(|start| Vocabulary::read(&start.dir, None)).transpose();
        let known = known.map_err(boxed)?;
        let transcribe = settings.objective.is_supervised();
        let base = SpeechPlan::config(&self.config, &settings.objective, None).map_err(boxed)?;
        let source = self.recipe.data_of(settings);
        let seed = self.recipe.data_seed();
        let taught = match (&source.self_training, &start) {
            (Some(settings), Some(start)) => {
                let teacher = Recogniser::open(&start.dir, self.recipe.device)?;
                Some(self_training::transcribe(settings, source, &teacher, seed)?)
            }
            _ => None,
        };
        let data = data::open(source, &base, known.as_ref(), transcribe, taught, seed);
        let data = data.map_err(boxed)?;
        let vocabulary = data.vocabulary.as_deref();
        let config = SpeechPlan::config(&self.config, &settings.objective, vocabulary);
        let config = config.map_err(boxed)?;
        let seed = stage_seed(&self.common, stage);
        let task = SpeechTask {
            train: data.train,
            validation: data.validation.all().collect(),
            objective: settings.objective.clone(),
            collator: Collator::new(&config).map_err(boxed)?,
            config: config.clone(),
            vocabulary: data.vocabulary,
        };
        let known = known.is_some();
        let prepare = Prepare { task, config, stage: settings.common(), seed, start, known };
        dispatch::on(self.recipe.device, prepare)?
    }

    fn evaluate(&self, model: &Path) -> kiln_train::Result<Evaluation> {
        Ok(evaluate(&self.recipe, model, self.recipe.data_seed())?)
    }
}

/// A stage that waits for its backend.
struct Prepare {
    task: SpeechTask,
    config: SpeechModelConfig,
    stage: Stage<Bare>,
    seed: Seed,
    start: Option<Start>,
    /// Whether the vocabulary begins with that of the model it starts from.
    known: bool,
}

impl OnBackend for Prepare {
    type Output = kiln_train::Result<Prepared>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let new = |device: &B::Device| Ok(SpeechModel::<B>::new(self.config, device)?);
        let read = |dir: &Path, model: &SpeechModel<B>| {
            let (_, mut weights) = family::read::<SpeechModelConfig>(dir)?;
            fit_head(&mut weights, &kiln_hub::collect::<B, _>(model)?, self.known);
            Ok(weights)
        };
        start::prepare(self.task, &self.stage, self.seed, device, self.start.as_ref(), new, read)
    }
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
