//! From documents to what a stage trains on.

use crate::{
    data_error::StageDataError,
    documents::{Counter, cache_dir, documents, size},
    labelled::{Aim, ChatTemplate, EncodeError, LabelledTask, Row, with_template},
    lexicon::{LexiconSource, LexiconTerms},
    order::Ordered,
    recipe::{TextData, TextSource, Validation, Windows},
    salience::Salience,
};
use kiln_core::{MixtureSource, Phase, Seed, Size, Source};
use kiln_lm::examples::Example;
use kiln_tokenize::{
    CacheSpec, PackedSource, TextTokenizer, TokenCache,
    packing::{Packed, PackingError},
};
use kiln_train::task::{TaskSource, TaskSourceError};
use rand::RngExt as _;
use rayon::prelude::*;
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// What a stage trains on.
pub struct StageData {
    /// Training sequences, in their order.
    pub train: TaskSource<Example>,
    /// Whether the order is drawn again each epoch by the trainer.
    pub shuffle: bool,
    /// What is kept for validation: of documents, and of each task.
    pub validation: Vec<Held>,
    /// How text became ids.
    pub tokenizer: Arc<TextTokenizer>,
}

/// Examples that are kept for validation.
pub struct Held {
    /// What they are of.
    pub name: String,
    /// The examples.
    pub examples: Vec<Example>,
}

impl Held {
    fn new(name: &str, examples: Vec<Example>) -> Self {
        Self { name: name.to_owned(), examples }
    }
}

/// Opens what a stage trains on: documents, labelled examples, or both. Its steps have so many
/// batches of so many examples; a batch is of one task or of documents.
///
/// # Errors
/// When it cannot be read, or nothing is left to train on.
pub fn open_stage(
    data: &TextData,
    tasks: &[LabelledTask<'_>],
    tokenizer: Arc<TextTokenizer>,
    [batches, batch]: [u64; 2],
    seed: Seed,
) -> Result<StageData, StageDataError> {
    let talk = tasks.iter().any(|task| is_chat(&task.aim));
    let tokenizer = if talk { with_template(tokenizer) } else { tokenizer };
    let documents = if tasks.is_empty() || data.unlabelled > 0.0 {
        Some(open(data, tokenizer.clone(), batches * batch, seed)?)
    } else {
        None
    };
    let documents = match documents {
        Some(all) if tasks.is_empty() => return Ok(all),
        other => other,
    };
    let (mut sources, mut weights, mut validation) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        let train = encode(task, &task.rows.train, &tokenizer)?;
        let held = encode(task, &task.rows.validation, &tokenizer)?;
        validation.push(Held::new(task.name.unwrap_or("labelled"), held));
        sources.push(Arc::new(Listed(train)) as TaskSource<Example>);
        weights.push((task.data.from * batches, task.data.weight));
    }
    if let Some(documents) = documents {
        validation.extend(documents.validation);
        sources.push(documents.train);
        weights.push((0, data.unlabelled));
    }
    let one = if sources.len() == 1 { sources.pop() } else { None };
    if let Some(train) = one {
        return Ok(StageData { train, shuffle: true, validation, tokenizer });
    }
    let mixed = MixtureSource::new(sources, &begun(&weights), seed.part("tasks"));
    let train = Arc::new(mixed.map_err(StageDataError::Tasks)?.in_runs_of(batch));
    Ok(StageData { train, shuffle: false, validation, tokenizer })
}

/// Mixture weights at each of these places: only of tasks that have begun.
fn begun(weights: &[(u64, f64)]) -> Vec<Phase> {
    let places: BTreeSet<u64> = weights.iter().map(|(from, _)| *from).chain([0]).collect();
    let phase = |at: u64| {
        let weight = |(from, weight): &(u64, f64)| if *from <= at { *weight } else { 0.0 };
        Phase { from: at, weights: weights.iter().map(weight).collect() }
    };
    places.into_iter().map(phase).collect()
}

/// Opens the documents of a stage whose steps have `batch` sequences.
///
/// # Errors
/// When it cannot be read, or nothing is left to train on.
pub fn open(
    data: &TextData,
    tokenizer: Arc<TextTokenizer>,
    batch: u64,
    seed: Seed,
) -> Result<StageData, StageDataError> {
    open_in(&cache_dir().join("tokens"), data, tokenizer, batch, seed)
}

/// The same with the folder of caches.
fn open_in(
    caches: &Path,
    data: &TextData,
    tokenizer: Arc<TextTokenizer>,
    batch: u64,
    seed: Seed,
) -> Result<StageData, StageDataError> {
    if data.sources.is_empty() {
        return Err(StageDataError::NoSources);
    }
    let special: Arc<[u32]> = tokenizer.special().ids().into();
    let mut validation = Vec::new();
    let mut sources = Vec::new();
    for (number, source) in data.sources.iter().enumerate() {
        let (train, held) = part(caches, data, source, &tokenizer, (seed, number as u64))?;
        validation.extend(held.into_iter().map(|packed| example(packed, &special)));
        sources.push(Sequences { train, special: special.clone() });
    }
    let phases = phases(data, &sources, batch);
    let one = if sources.len() == 1 { sources.pop() } else { None };
    let train: TaskSource<Example> = match one {
        Some(only) => Arc::new(only),
        None => Arc::new(MixtureSource::new(sources, &phases, seed.part("mixture"))?),
    };
    let (train, shuffle): (TaskSource<Example>, bool) = match (data.order, train.size()) {
        (_, Size::Endless) => (train, false),
        (None, Size::Known(_)) => (train, true),
        (Some(order), Size::Known(size)) => {
            (Arc::new(Ordered::new(train, size, order, &tokenizer, seed.part("order"))?), false)
        }
    };
    let held = |examples| vec![Held::new("documents", examples)];
    let Some(lexicon) = &data.lexicon else {
        return Ok(StageData { train, shuffle, validation: held(validation), tokenizer });
    };
    let terms = LexiconTerms::new(&lexicon.read()?, &tokenizer)?;
    let salience = lexicon.salient.map(|share| Salience::count(&train, share)).transpose()?;
    let with = LexiconSource { source: train, terms, salience };
    let validation = held(validation.into_iter().map(|held| with.marked(held)).collect());
    Ok(StageData { train: Arc::new(with), shuffle, validation, tokenizer })
}

/// Rows of a task as examples, on all cores, in their order.
///
/// # Errors
/// When some cannot be used.
pub fn encode(
    task: &LabelledTask<'_>,
    rows: &[Row],
    tokenizer: &Arc<TextTokenizer>,
) -> Result<Vec<Example>, EncodeError> {
    let encoder = task.encoder(tokenizer);
    let chat = if is_chat(&task.aim) { Some(ChatTemplate::of(tokenizer)?) } else { None };
    let rows = rows.par_iter().enumerate();
    let examples: Vec<Vec<Example>> = rows
        .map(|(number, row)| encoder.row(number, row, &task.aim, task.data, chat.as_ref()))
        .collect::<Result<_, _>>()?;
    Ok(examples.into_iter().flatten().collect())
}

/// Whether what is learned is part of a conversation.
fn is_chat(aim: &Aim) -> bool {
    matches!(aim, Aim::Completion | Aim::Preference)
}

/// Examples that are all there.
pub(crate) struct Listed(pub(crate) Vec<Example>);

impl Source for Listed {
    type Example = Example;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Known(self.0.len() as u64)
    }

    fn example(&self, index: u64) -> Result<Example, TaskSourceError> {
        let found = usize::try_from(index).ok().and_then(|index| self.0.get(index)).cloned();
        found.ok_or_else(|| TaskSourceError(format!("there is no example {index}").into()))
    }
}

/// The weights of the sources, and when they change: steps have `batch` sequences.
fn phases(data: &TextData, sources: &[Sequences], batch: u64) -> Vec<Phase> {
    let size = |at: usize| sources.get(at).map_or(0, |source| source.train.packed.len()) as f64;
    let weights = if data.weights.is_empty() {
        (0..sources.len()).map(size).collect()
    } else {
        data.weights.clone()
    };
    let first = Phase { from: 0, weights };
    let later = data.phases.iter();
    let later = later
        .map(|one| Phase { from: one.step.saturating_mul(batch), weights: one.weights.clone() });
    std::iter::once(first).chain(later).collect()
}

/// What is trained on of the source with this number, and the sequences of it that are kept for
/// validation.
fn part(
    caches: &Path,
    data: &TextData,
    source: &TextSource,
    tokenizer: &TextTokenizer,
    (seed, number): (Seed, u64),
) -> Result<(Training, Vec<Packed>), StageDataError> {
    let spec = CacheSpec { documents: documents(source, seed)?, words: true };
    let progress = Counter::new("tokenising", size(&spec.documents)?);
    let cache =
        TokenCache::open_or_build(caches, &spec, tokenizer, &mut |at| progress.at(at.bytes))?;
    progress.finish();
    let cache = Arc::new(cache);
    let pack = |documents| PackedSource::new(cache.clone(), documents, tokenizer, &data.packing);
    let read = |packed: &PackedSource, from: u64| {
        (from..packed.len()).map(|at| packed.example(at)).collect::<Result<Vec<_>, _>>()
    };
    let training = |packed: PackedSource, sequences: u64| {
        let anywhere = data.windows == Windows::Anywhere;
        Training { packed, sequences, anywhere: anywhere.then(|| seed.at(number).part("windows")) }
    };
    match data.validation {
        Validation::Documents(held) => {
            // The same split for each source: two sources of the same documents hold out the same ones.
            let (train, held) = held.split(cache.documents(), seed.at(0).part("validation"))?;
            let held = if held.is_empty() { Vec::new() } else { read(&pack(held)?, 0)? };
            let packed = pack(train)?;
            let sequences = packed.len();
            Ok((training(packed, sequences), held))
        }
        Validation::Tail(share) if (0.0..1.0).contains(&share) => {
            let packed = pack((0..cache.documents()).collect())?;
            let all = packed.len();
            let kept = ((all as f64 * share).round() as u64).max(u64::from(share > 0.0));
            if kept >= all {
                return Err(PackingError::NoTraining { held: kept, documents: all }.into());
            }
            let held = read(&packed, all - kept)?;
            Ok((training(packed, all - kept), held))
        }
        Validation::Tail(share) => Err(StageDataError::Tail(share)),
    }
}

/// Sequences to train on: the first of those that are there.
#[derive(Debug)]
struct Training {
    packed: PackedSource,
    sequences: u64,
    /// Draws where sequences begin, where they begin anywhere.
    anywhere: Option<Seed>,
}

/// Training sequences as examples.
#[derive(Debug)]
struct Sequences {
    train: Training,
    special: Arc<[u32]>,
}

impl Source for Sequences {
    type Example = Example;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        match self.train.anywhere {
            Some(_) => Size::Endless,
            None => Size::Known(self.train.sequences),
        }
    }

    fn example(&self, index: u64) -> Result<Example, TaskSourceError> {
        let Training { packed, sequences, anywhere } = &self.train;
        let found = match anywhere {
            Some(seed) => {
                // A window may begin anywhere before the last sequence's end.
                let length = packed.length();
                let last = (sequences * length).saturating_sub(length);
                packed.window(seed.at(index).rng().random_range(0..=last))
            }
            None => packed.example(index).map_err(|error| TaskSourceError(Box::new(error)))?,
        };
        Ok(example(found, &self.special))
    }
}

/// A packed sequence as an example; special tokens and the prefixes of documents are never masked.
fn example(packed: Packed, special: &[u32]) -> Example {
    let documents = packed.segments().iter().map(|segment| segment.start as u32).collect();
    let mut special_tokens_mask: Vec<bool> =
        packed.ids.iter().map(|id| special.contains(id)).collect();
    special_tokens_mask.iter_mut().zip(&packed.loss_mask).for_each(|(on, counted)| *on |= !counted);
    let Packed { ids, word_starts, loss_mask, .. } = packed;
    Example { ids, special_tokens_mask, word_starts, loss_mask, documents, ..Example::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_datasets::{Documents, documents::Prefix};
    use kiln_lm::{TextModel, TextModelConfig};
    use kiln_tokenize::{
        Packing, TokenizerSpec,
        packing::{Borders, ValidationSplit},
        tokenizer::Model,
    };

    /// Of metadata before a document nothing is learned, and two views of documents keep the same.
    #[test]
    fn metadata_is_outside_the_loss_mask() {
        let dir = tempfile::tempdir().unwrap();
        let line = |number: usize| format!("{{\"text\":\"{number:04}\",\"by\":\"X\"}}\n");
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, (0..40).map(line).collect::<String>()).unwrap();
        let plain = Documents::new([path]);
        let before = vec![Prefix::Text("{by}:".to_owned())];
        let data = TextData {
            sources: [Documents { before, ..plain.clone() }, plain]
                .map(TextSource::Documents)
                .to_vec(),
            packing: Packing { length: 7, borders: Borders::End, cross: false },
            validation: Validation::Documents(ValidationSplit::Documents(3)),
            ..TextData::default()
        };
        let tokenizer = TokenizerSpec::new(Model::Bytes {}).train([], &mut |_| {}).unwrap();
        let tokenizer = Arc::new(tokenizer);
        let held = |source: usize| {
            let data = data.of_source(source);
            let opened = open_in(dir.path(), &data, tokenizer.clone(), 1, Seed::new(5));
            opened.unwrap().validation.remove(0).examples
        };
        let (told, bare) = (held(0), held(1));
        assert_eq!((told.len(), bare.len()), (3, 3));
        let config =
            TextModelConfig { vocabulary: tokenizer.vocabulary(), ..TextModelConfig::default() };
        let model = TextModel::<Flex>::new(config, &Default::default()).unwrap();
        for (told, bare) in told.iter().zip(&bare) {
            // `X:` and then what the other view has.
            assert_eq!(told.ids[2..], bare.ids);
            assert_eq!(told.loss_mask[..3], [false, false, true]);
            assert_eq!(told.special_tokens_mask[..3], [true, true, false]);
            let count = |one: &Example| {
                model.next_token_loss(std::slice::from_ref(one), &Default::default()).unwrap().count
            };
            // Four characters and the end; without metadata nothing stands before the first.
            assert_eq!((count(told), count(bare)), (5, 4));
        }
    }

    #[test]
    fn what_begins_later_weighs_nothing_before() {
        let phases = begun(&[(0, 1.0), (30, 2.0), (0, 0.5), (10, 4.0)]);
        let expected =
            [(0, [1.0, 0.0, 0.5, 0.0]), (10, [1.0, 0.0, 0.5, 4.0]), (30, [1.0, 2.0, 0.5, 4.0])];
        let expected = expected.map(|(from, weights)| Phase { from, weights: weights.to_vec() });
        assert_eq!(phases, expected);
    }
}
