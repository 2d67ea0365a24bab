//! Text models as the trainer takes them.

use crate::{
    check, cost, data,
    data_error::StageDataError,
    embed,
    evaluate::evaluate,
    labelled::{Aim, LabelledTask},
    opened::{has_tokenizer, open_tokenizer},
    recipe::{RankingWords, TextData, TextSpec, TokenizerSource},
    sources,
    stage_model::{TextPlan, stage_config, with_heads},
    transfer::Transfer,
};
use kiln_core::{AutodiffBackend, Backend, HostBatch, Rng, Seed};
use kiln_hub::{Weights, adapter::Published, family};
use kiln_lm::{
    TextModel, TextModelConfig,
    config::SpecialIds,
    examples::{Example, TextBatch, TextHostBatch, collate},
};
use kiln_objectives::{Objective, RefusedObjective};
use kiln_tokenize::TextTokenizer;
use kiln_train::{
    architecture::{Architecture, ModelSource, OpenStage, StageCost, StageSpec, ValidationSet},
    recipe::{Problem, Recipe},
    results::Evaluation,
    start::Start,
    task::TaskError,
};
use std::{path::Path, sync::Arc};

/// Sequences looked at in a validation, at most.
const VALIDATED: usize = 256;

/// The architecture of text models.
#[derive(Debug)]
pub struct TextArchitecture;

/// What an open stage keeps beside its examples.
pub struct TextStage {
    /// The tokenizer; saved beside the model.
    tokenizer: Arc<TextTokenizer>,
    /// Prompt and target words of a seq2seq ranker; saved beside the model.
    ranking: Option<RankingWords>,
    /// Where the model that the stage starts from has another vocabulary.
    transfer: Option<Transfer>,
}

impl Architecture for TextArchitecture {
    type Spec = TextSpec;
    type Config = TextModelConfig;
    type Example = Example;
    type HostBatch = TextHostBatch;
    type Data = TextStage;
    type Batch<B: Backend> = TextBatch<B>;
    type Model<B: Backend> = TextModel<B>;
    type Trained<B: AutodiffBackend> = TextModel<B>;

    fn model(recipe: &Recipe<TextSpec>) -> Result<ModelSource<TextModelConfig>, TaskError> {
        // Special ids are the tokenizer's.
        let checked = |config| TextModelConfig { special: SpecialIds::default(), ..config };
        recipe.model.source(|preset| Ok(preset.config()), checked)
    }

    fn check_objective(stage: &StageSpec<'_, Self>) -> Result<(), RefusedObjective> {
        let labelled = stage.data().tasks().next().is_some();
        stage.settings.objective.prepare(&mut TextPlan::new(stage.config, labelled))
    }

    fn check_stage(stage: &StageSpec<'_, Self>) -> Result<(), Problem> {
        check::stage(stage)
    }

    fn check_evaluation(
        recipe: &Recipe<TextSpec>,
        number: usize,
        config: &TextModelConfig,
    ) -> Result<(), Problem> {
        check::evaluation(recipe, number, config)
    }

    fn plan(
        stage: &StageSpec<'_, Self>,
        before: Option<&TextModelConfig>,
        init: Option<&Path>,
    ) -> Result<StageCost<TextModelConfig>, TaskError> {
        let tasks = tasks(stage)?;
        let dir = init.or(stage.directory.filter(|_| before.is_none()));
        let dir = dir.filter(|dir| has_tokenizer(dir));
        let config = planned_config(stage, &tasks, before, dir)?;
        let length = check::lengths(stage.data()).map(|(_, length)| length).max();
        let examples = tasks.iter().map(|task| task.rows.train.len() as u64).sum();
        let examples = (!tasks.is_empty()).then_some(examples);
        let sequences = stage.settings.batch as f64;
        Ok(cost::of_stage(config, length.unwrap_or_default(), sequences, examples))
    }

    fn open(
        stage: &StageSpec<'_, Self>,
        start: Option<&Start>,
    ) -> Result<OpenStage<Self>, TaskError> {
        let settings = stage.settings;
        let data = stage.data();
        let tokenizer = tokenizer(stage, start.map(|start| start.dir.as_path()))?;
        let tasks = tasks(stage)?;
        let config = stage_config(stage.config, &settings.objective, &tasks, &tokenizer)?;
        let transfer = match start {
            Some(start) => transfer(data, &start.dir, &tokenizer, stage.seed())?,
            None => None,
        };
        let batches = [settings.accumulate, settings.batch as u64];
        let opened = data::open_stage(data, &tasks, tokenizer, batches, stage.seed())?;
        let in_words = tasks.iter().find(|task| task.ranks_in_words());
        Ok(OpenStage {
            config,
            objective: settings.objective.clone(),
            train: opened.train,
            shuffle: opened.shuffle,
            validation: validation_sets(opened.validation),
            validation_batch: settings.batch,
            data: TextStage {
                tokenizer: opened.tokenizer,
                ranking: in_words.map(|task| task.data.ranking.clone()),
                transfer,
            },
        })
    }

    fn init<B: AutodiffBackend>(
        config: TextModelConfig,
        device: &B::Device,
    ) -> Result<TextModel<B>, TaskError> {
        Ok(TextModel::new(config, device)?)
    }

    fn read_weights<B: AutodiffBackend>(
        stage: &OpenStage<Self>,
        dir: &Path,
        whole: bool,
        model: &TextModel<B>,
        device: &B::Device,
    ) -> Result<Weights, TaskError> {
        let (_, mut weights) = family::read::<TextModelConfig>(dir)?;
        // Parts of other models have the stage's own vocabulary.
        if let Some(transfer) = stage.data.transfer.as_ref().filter(|_| whole) {
            let fresh = kiln_hub::collect::<B, _>(model)?;
            transfer.apply::<B::InnerBackend>(&mut weights, &fresh, dir, device)?;
        }
        Ok(weights)
    }

    fn collate(
        stage: &OpenStage<Self>,
        examples: &[Example],
        _: &mut Rng,
    ) -> Result<Option<TextHostBatch>, TaskError> {
        Ok(Some(collate(examples, &stage.config.special)))
    }

    fn host<'a>(_: &'a OpenStage<Self>, batch: &'a TextHostBatch) -> Box<dyn HostBatch + 'a> {
        Box::new(batch)
    }

    fn tokens(_stage: &OpenStage<Self>, batch: &TextHostBatch) -> usize {
        batch.tokens()
    }

    fn kind(batch: &TextHostBatch) -> Option<&str> {
        batch.task.as_deref()
    }

    fn upload<B: Backend>(
        stage: &OpenStage<Self>,
        batch: TextHostBatch,
        device: &B::Device,
    ) -> TextBatch<B> {
        batch.upload(&stage.config.embedding, device)
    }

    fn write<B: Backend>(
        stage: &OpenStage<Self>,
        model: &TextModel<B>,
        dir: &Path,
    ) -> Result<(), TaskError> {
        model.save(dir)?;
        stage.data.tokenizer.write(dir)?;
        if let Some(ranking) = &stage.data.ranking {
            ranking.write(dir)?;
        }
        let embeds = |one: &Objective| matches!(one, Objective::InfoNce(_) | Objective::Cosent(_));
        let config = model.config();
        // sentence-transformers then pools as in training; it does not know layers above the pooling.
        if stage.objective.has(embeds) && config.pooler.is_none() {
            let (width, pooling) = (config.width, config.default_pooling());
            embed::write_sentence_files(dir, width, pooling, config.longest(), true)?;
        }
        Ok(())
    }

    fn published(config: &TextModelConfig) -> Result<Option<Published>, TaskError> {
        Ok(family::published(config)?)
    }

    fn layer_index(config: &TextModelConfig, parameter: &str) -> Option<(usize, usize)> {
        config.depth(parameter)
    }

    fn evaluate(
        recipe: &Recipe<TextSpec>,
        model: &Path,
        seed: Seed,
    ) -> Result<Evaluation, TaskError> {
        evaluate(recipe, model, seed)
    }
}

/// The model of a stage that starts in `dir`, or where the stage before ended, before anything is read
/// at length: a tokenizer that is to be trained has the vocabulary that was asked for, and a model
/// keeps its own through its stages.
fn planned_config(
    stage: &StageSpec<'_, TextArchitecture>,
    tasks: &[LabelledTask<'_>],
    before: Option<&TextModelConfig>,
    dir: Option<&Path>,
) -> Result<TextModelConfig, TaskError> {
    let data = stage.data();
    let objective = &stage.settings.objective;
    sources::find(data)?;
    let mut config = with_heads(stage.config, objective, tasks)?;
    match (&data.tokenizer, dir, before) {
        (Some(TokenizerSource::Train(_)) | None, None, Some(before)) => {
            config.vocabulary = before.vocabulary;
            config.special = before.special;
            Ok(config)
        }
        (Some(TokenizerSource::Train(spec)), None, None)
        | (Some(TokenizerSource::Retrain(spec)), _, _) => {
            config.vocabulary = spec.model.vocabulary().unwrap_or(config.vocabulary);
            config.special = SpecialIds::default();
            Ok(config)
        }
        _ => stage_config(stage.config, objective, tasks, &*tokenizer(stage, dir)?),
    }
}

/// The labelled tasks of a stage.
fn tasks<'a>(
    stage: &StageSpec<'a, TextArchitecture>,
) -> Result<Vec<LabelledTask<'a>>, StageDataError> {
    let seq2seq = stage.config.decoder.is_some();
    let read = |(name, task)| {
        LabelledTask::read(name, task, stage.seed(), |rows| {
            Aim::of(&stage.settings.objective, rows, &task.names, seq2seq)
        })
    };
    stage.data().tasks().map(read).collect()
}

/// The tokenizer of a stage that starts from a directory or from nothing.
fn tokenizer(
    stage: &StageSpec<'_, TextArchitecture>,
    from: Option<&Path>,
) -> Result<Arc<TextTokenizer>, StageDataError> {
    sources::tokenizer(stage.data(), from.or(stage.directory), stage.seed())
}

/// What becomes of the vocabulary of the model in `dir`, where the stage's tokenizer has another.
fn transfer(
    data: &TextData,
    dir: &Path,
    tokenizer: &TextTokenizer,
    seed: Seed,
) -> Result<Option<Transfer>, TaskError> {
    if !has_tokenizer(dir) {
        return Ok(None);
    }
    let old = open_tokenizer(dir)?;
    let texts = || sources::texts(data, seed);
    let longest = family::read_config::<TextModelConfig>(dir)?.longest();
    Ok(Transfer::new(data.new_tokens, [&old, tokenizer], longest, texts)?)
}

/// Of each set as many examples, spread over all of it, so that each source has its part.
fn validation_sets(sets: Vec<data::Held>) -> Vec<ValidationSet<Example>> {
    let most = VALIDATED / sets.len().clamp(1, VALIDATED);
    let thin = |data::Held { name, examples }: data::Held| {
        let stride = examples.len().div_ceil(most).max(1);
        ValidationSet { name, examples: examples.into_iter().step_by(stride).collect() }
    };
    sets.into_iter().map(thin).collect()
}
