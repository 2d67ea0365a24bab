//! From documents to what a stage trains on.

use crate::{
    cache::{CacheError, CacheSpec, TokenCache},
    examples::Example,
    labelled::{Aim, ChatTemplate, EncodeError, Encoder, LabelledData, Row, Rows},
    lexicon::{Terms, WithTerms},
    order::Ordered,
    packing::{Packed, PackedSource, PackingError},
    recipe::{TextData, TextSource, TokenizerSource, Validation, Windows},
    tokenizer::{TextTokenizer, TokenizerError},
};
use kiln_core::{MixtureError, MixtureSource, Phase, Seed, Size, Source};
use kiln_datasets::{DataError, Document, Documents, stories::Stories};
use kiln_hub::{HubError, ModelDir};
use kiln_train::{
    progress::Progress,
    start::resolve,
    task::{TaskError, TaskSource, TaskSourceError},
};
use rand::RngExt as _;
use rayon::prelude::*;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageDataError {
    /// Documents that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tokenizer that cannot be read or trained.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Tokens that cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Documents that make no sequences.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// A tokenizer's directory that cannot be found.
    #[error("the tokenizer: {0}")]
    Directory(TaskError),
    /// No text to train on.
    #[error(
        "`data.sources` names no documents; for example \
             [{{ documents = {{ paths = [\"corpus.txt\"] }} }}]"
    )]
    NoSources,
    /// Nobody says how text becomes ids.
    #[error(
        "`data.tokenizer` is missing, and the model brings none; for example \
         {{ train = {{ model = {{ byte-bpe = {{ vocabulary = 8000 }} }} }} }}"
    )]
    NoTokenizer,
    /// Stories that cannot be kept.
    #[error("cannot write {}", .0.display())]
    Stories(PathBuf, #[source] std::io::Error),
    /// Files that cannot be written.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A sequence that cannot be read.
    #[error(transparent)]
    Source(#[from] TaskSourceError),
    /// A labelled row that cannot be used.
    #[error("`data.labelled`: {0}")]
    Encode(#[from] EncodeError),
    /// Labelled rows that an objective does not learn from.
    #[error("`data.labelled` {0}")]
    Aim(String),
    /// A share that is none.
    #[error("`data.validation.tail` is {0}; expected 0 to below 1")]
    Tail(f64),
    /// Weights of sources that cannot be.
    #[error("`data.sources` and `data.phases`: {0}")]
    Mixture(#[from] MixtureError),
}

/// What a stage trains on.
pub struct StageData {
    /// Training sequences, in their order.
    pub train: TaskSource<Example>,
    /// Whether the order is drawn anew each epoch by the trainer.
    pub shuffle: bool,
    /// Sequences kept for validation.
    pub validation: Vec<Example>,
    /// How text became ids.
    pub tokenizer: Arc<TextTokenizer>,
}

/// The tokenizer of a stage: that of the data, or else that of the model it starts from.
///
/// # Errors
/// When it cannot be read or trained.
pub fn tokenizer(
    data: &TextData,
    from: Option<&Path>,
    seed: Seed,
) -> Result<Arc<TextTokenizer>, StageDataError> {
    let found = match (&data.tokenizer, from) {
        // A model keeps its tokenizer through its stages.
        (Some(TokenizerSource::Train(_)) | None, Some(dir)) if has_tokenizer(dir) => {
            TextTokenizer::open(dir)?
        }
        (Some(TokenizerSource::Directory(name)), _) => {
            let file = Path::new(name);
            if file.is_file() {
                TextTokenizer::open(file)?
            } else {
                TextTokenizer::open(&resolve(name).map_err(StageDataError::Directory)?)?
            }
        }
        (Some(TokenizerSource::Train(spec)), _) if data.sources.is_empty() => {
            let Some(labelled) = &data.labelled else { return Err(StageDataError::NoSources) };
            let rows = labelled.rows(seed.part("labelled"))?;
            let texts = rows.train.iter().flat_map(Row::texts);
            let documents =
                texts.map(|text| Ok(Document { text: text.into(), ..Document::default() }));
            spec.train(documents, &mut |_| {})?
        }
        (Some(TokenizerSource::Train(spec)), _) => {
            let mut readers = Vec::with_capacity(data.sources.len());
            let mut bytes = 0;
            for source in &data.sources {
                let documents = documents(source, seed)?;
                bytes += size(&documents)?;
                readers.push(documents.read()?);
            }
            let progress = Counter::new("training a tokenizer", bytes);
            let trained =
                spec.train(readers.into_iter().flatten(), &mut |at| progress.at(at.bytes))?;
            progress.finish();
            trained
        }
        (None, _) => return Err(StageDataError::NoTokenizer),
    };
    Ok(Arc::new(found))
}

fn has_tokenizer(dir: &Path) -> bool {
    ModelDir::home(dir, "tokenizer.json").join("tokenizer.json").is_file()
}

/// Opens the data of a stage whose steps have `batch` sequences.
///
/// # Errors
/// When it cannot be read, or nothing is left to train on.
pub fn open(
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
        let (train, held) = part(data, source, &tokenizer, [seed, seed.at(number as u64)])?;
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
            (Arc::new(Ordered::new(train, size, order, seed.part("order"))?), false)
        }
    };
    let Some(lexicon) = &data.lexicon else {
        return Ok(StageData { train, shuffle, validation, tokenizer });
    };
    let terms = Terms::new(&lexicon.read()?, &tokenizer)?;
    let validation = validation.into_iter().map(|held| WithTerms::told(&terms, held)).collect();
    let train = Arc::new(WithTerms { source: train, terms });
    Ok(StageData { train, shuffle, validation, tokenizer })
}

/// Makes examples of the labelled rows of a stage.
///
/// # Errors
/// When some cannot be used.
pub fn open_labelled(
    labelled: &LabelledData,
    rows: &Rows,
    aim: &Aim,
    tokenizer: Arc<TextTokenizer>,
) -> Result<StageData, StageDataError> {
    let train = encode(labelled, &rows.train, aim, &tokenizer)?;
    let validation = encode(labelled, &rows.validation, aim, &tokenizer)?;
    Ok(StageData { train: Arc::new(Listed(train)), shuffle: true, validation, tokenizer })
}

/// Rows as examples, on all cores, in their order.
///
/// # Errors
/// When some cannot be used.
pub fn encode(
    labelled: &LabelledData,
    rows: &[Row],
    aim: &Aim,
    tokenizer: &Arc<TextTokenizer>,
) -> Result<Vec<Example>, EncodeError> {
    let encoder = Encoder::new(tokenizer.clone(), labelled.length);
    let talks = matches!(aim, Aim::Answer | Aim::Prefer);
    let chat = if talks { Some(ChatTemplate::of(tokenizer)?) } else { None };
    let rows = rows.par_iter().enumerate();
    let examples: Vec<Vec<Example>> = rows
        .map(|(number, row)| encoder.row(number, row, aim, labelled, chat.as_ref()))
        .collect::<Result<_, _>>()?;
    Ok(examples.into_iter().flatten().collect())
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

/// What of a source is trained on, and the sequences of it that are kept for validation.
fn part(
    data: &TextData,
    source: &TextSource,
    tokenizer: &TextTokenizer,
    [told, seed]: [Seed; 2],
) -> Result<(Training, Vec<Packed>), StageDataError> {
    let spec = CacheSpec { documents: documents(source, told)?, words: true };
    let progress = Counter::new("tokenising", size(&spec.documents)?);
    let dir = cache_dir().join("tokens");
    let cache = TokenCache::open_or_build(&dir, &spec, tokenizer, &mut |at| progress.at(at.bytes))?;
    progress.finish();
    let cache = Arc::new(cache);
    let pack = |documents| PackedSource::new(cache.clone(), documents, tokenizer, &data.packing);
    let read = |packed: &PackedSource, from: u64| {
        (from..packed.len()).map(|at| packed.example(at)).collect::<Result<Vec<_>, _>>()
    };
    let training = |packed: PackedSource, sequences: u64| {
        let anywhere = data.windows == Windows::Anywhere;
        Training { packed, sequences, anywhere: anywhere.then(|| seed.part("windows")) }
    };
    match data.validation {
        Validation::Documents(held) => {
            let (train, held) = held.split(cache.documents(), seed.part("validation"))?;
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
                return Err(PackingError::Held { held: kept, documents: all }.into());
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

/// A packed sequence as an example, special tokens fixed.
fn example(packed: Packed, special: &[u32]) -> Example {
    let documents = packed.segments().iter().map(|segment| segment.start as u32).collect();
    let fixed: Vec<bool> = packed.ids.iter().map(|id| special.contains(id)).collect();
    Example { ids: packed.ids, fixed, starts: packed.begins, documents, ..Example::default() }
}

/// Stories of a source that asks for no number of them.
const STORIES: u64 = 4000;

/// The files of a source; stories are told into one first, once.
pub(crate) fn documents(source: &TextSource, seed: Seed) -> Result<Documents, StageDataError> {
    let (stories, chinese) = match source {
        TextSource::Documents(documents) => return Ok(documents.clone()),
        TextSource::Stories(stories) => (stories, false),
        TextSource::ChineseStories(stories) => (stories, true),
    };
    let size = stories.size.unwrap_or(STORIES);
    let stories = Stories { size: Some(size), ..stories.clone() };
    let told = format!("{}\n{stories:?}\n{chinese}\n{}", env!("CARGO_PKG_VERSION"), seed.value());
    let name = format!("{:016x}.jsonl", Seed::new(0).part(&told).value());
    let path = cache_dir().join("stories").join(name);
    if !path.is_file() {
        let tell: Box<dyn Fn(u64) -> String> = if chinese {
            let source = stories.chinese(seed)?;
            Box::new(move |index| source.document(index).text)
        } else {
            let source = stories.source(seed)?;
            Box::new(move |index| source.document(index).text)
        };
        let failed = |error: std::io::Error| StageDataError::Stories(path.clone(), error);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        kiln_hub::write_atomic(&path, |out| {
            (0..size).try_for_each(|index| {
                writeln!(out, "{}", serde_json::json!({ "text": tell(index) }))
            })
        })?;
    }
    Ok(Documents::new([path]))
}

/// Looks whether the documents of a stage are there, without reading them, and its lexicon.
///
/// # Errors
/// When some are not.
pub fn find(data: &TextData) -> Result<(), StageDataError> {
    for source in &data.sources {
        if let TextSource::Documents(documents) = source {
            documents.files()?;
        }
    }
    if let Some(lexicon) = &data.lexicon {
        lexicon.read()?;
    }
    Ok(())
}

/// Bytes of documents' files.
fn size(documents: &Documents) -> Result<u64, DataError> {
    let files = documents.files()?;
    let sizes = files.iter().filter_map(|(path, _)| path.metadata().ok());
    Ok(sizes.map(|data| data.len()).sum())
}

/// Where tokens are kept between runs: the user's cache, or else the folder of temporary files.
fn cache_dir() -> PathBuf {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let user = given("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| given("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match given("KILN_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => user.unwrap_or_else(std::env::temp_dir).join("kiln"),
    }
}

/// Megabytes, as they are read.
struct Counter {
    progress: Progress,
    shown: AtomicU64,
}

impl Counter {
    fn new(what: &str, bytes: u64) -> Self {
        let progress = Progress::new(what, (bytes >> 20) as usize, "MB");
        Self { progress, shown: AtomicU64::new(0) }
    }

    fn at(&self, bytes: u64) {
        let now = bytes >> 20;
        let before = self.shown.swap(now, Ordering::Relaxed);
        self.progress.advance(now.saturating_sub(before) as usize);
    }

    fn finish(&self) {
        self.progress.finish();
    }
}
