//! Where the texts of a stage come from, and its tokenizer.

use crate::{
    cache::CacheError,
    labelled::{EncodeError, Row, task_seed},
    packing::PackingError,
    recipe::{TextData, TextSource, TokenizerSource},
    tokenizer::{TextTokenizer, TokenizerError},
};
use kiln_core::{MixtureError, Seed};
use kiln_datasets::{
    DataError, Document, Documents,
    stories::{Stories, StoryDocument},
};
use kiln_hub::{HubError, ModelDir};
use kiln_train::{
    progress::Progress,
    start::resolve,
    task::{TaskError, TaskSourceError},
};
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
    #[error("labelled examples: {0}")]
    Encode(#[from] EncodeError),
    /// Labelled rows that an objective does not learn from.
    #[error("`data.{0}` {1}")]
    Aim(String, String),
    /// A share that is none.
    #[error("`data.validation.tail` is {0}; expected 0 to below 1")]
    Tail(f64),
    /// Weights of sources that cannot be.
    #[error("`data.sources` and `data.phases`: {0}")]
    Mixture(#[from] MixtureError),
    /// Weights of tasks that cannot be.
    #[error("`data.tasks`: {0}")]
    Tasks(MixtureError),
}

impl kiln_core::blame::Blamed for StageDataError {}

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
            let path = Path::new(name);
            // A tokenizer alone, as `kiln data tokenizer` writes it, is no model.
            if path.is_file() || path.join("tokenizer.json").is_file() {
                TextTokenizer::open(path)?
            } else {
                TextTokenizer::open(&resolve(name).map_err(StageDataError::Directory)?)?
            }
        }
        (Some(TokenizerSource::Train(spec) | TokenizerSource::Retrain(spec)), _) => {
            let (documents, bytes) = texts(data, seed)?;
            let progress = Counter::new("training a tokenizer", bytes);
            let trained = spec.train(documents, &mut |at| progress.at(at.bytes))?;
            progress.finish();
            trained
        }
        (None, _) => return Err(StageDataError::NoTokenizer),
    };
    Ok(Arc::new(found))
}

/// Whether a model directory has a tokenizer.
pub(crate) fn has_tokenizer(dir: &Path) -> bool {
    ModelDir::home(dir, "tokenizer.json").join("tokenizer.json").is_file()
}

/// A document after the other, or why not.
pub(crate) type Texts = Box<dyn Iterator<Item = Result<Document, DataError>>>;

/// The texts of a stage, those kept for validation among them, and their bytes in files: of its
/// sources, or else of its labelled rows.
///
/// # Errors
/// When they cannot be found, or there are none.
pub(crate) fn texts(data: &TextData, seed: Seed) -> Result<(Texts, u64), StageDataError> {
    if data.sources.is_empty() && data.tasks().next().is_some() {
        let mut texts: Vec<String> = Vec::new();
        for (name, labelled) in data.tasks() {
            let rows = labelled.rows(task_seed(name, seed))?;
            texts.extend(rows.train.iter().flat_map(Row::texts).map(str::to_owned));
        }
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        let documents = texts.into_iter().map(|text| Ok(Document { text, ..Document::default() }));
        return Ok((Box::new(documents), bytes));
    }
    if data.sources.is_empty() {
        return Err(StageDataError::NoSources);
    }
    let mut readers = Vec::with_capacity(data.sources.len());
    let mut bytes = 0;
    for source in &data.sources {
        let documents = documents(source, seed)?;
        bytes += size(&documents)?;
        readers.push(documents.read()?);
    }
    Ok((Box::new(readers.into_iter().flatten()), bytes))
}

/// Stories of a source that asks for no number of them.
const STORIES: u64 = 4000;

/// The files of a source; stories are told into one first, once.
pub(crate) fn documents(source: &TextSource, seed: Seed) -> Result<Documents, StageDataError> {
    let (stories, kind) = match source {
        TextSource::Documents(documents) => return Ok(documents.clone()),
        TextSource::Stories(stories) => (stories, "english"),
        TextSource::ChineseStories(stories) => (stories, "chinese"),
        TextSource::StoryFacts(stories) => (stories, "facts"),
    };
    let size = stories.size.unwrap_or(STORIES);
    let before = stories.before.clone();
    let stories = Stories { size: Some(size), before: Vec::new(), ..stories.clone() };
    let told = format!("{}\n{stories:?}\n{kind}\n{}", env!("CARGO_PKG_VERSION"), seed.value());
    let name = format!("{:016x}.jsonl", Seed::new(0).part(&told).value());
    let path = cache_dir().join("stories").join(name);
    if !path.is_file() {
        let tell: Box<dyn Fn(u64) -> StoryDocument> = match source {
            TextSource::ChineseStories(_) => {
                let source = stories.chinese(seed)?;
                Box::new(move |index| source.document(index))
            }
            TextSource::StoryFacts(_) => {
                let source = stories.source(seed)?;
                Box::new(move |index| {
                    let facts: Vec<String> =
                        source.facts(index).iter().map(ToString::to_string).collect();
                    StoryDocument { text: facts.join(" "), ..source.document(index) }
                })
            }
            _ => {
                let source = stories.source(seed)?;
                Box::new(move |index| source.document(index))
            }
        };
        let failed = |error: std::io::Error| StageDataError::Stories(path.clone(), error);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        kiln_hub::write_atomic(&path, |out| {
            (0..size).try_for_each(|index| {
                let StoryDocument { title, text, domain, topics, mood, .. } = tell(index);
                let topics: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
                let story = serde_json::json!({
                    "text": text, "title": title, "domain": domain.name(),
                    "topics": topics.join(", "), "mood": mood.name(),
                });
                writeln!(out, "{story}")
            })
        })?;
    }
    Ok(Documents { before, ..Documents::new([path]) })
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
pub(crate) fn size(documents: &Documents) -> Result<u64, DataError> {
    let files = documents.files()?;
    let sizes = files.iter().filter_map(|(path, _)| path.metadata().ok());
    Ok(sizes.map(|data| data.len()).sum())
}

/// Where tokens are kept between runs: the user's cache, or else the folder of temporary files.
pub(crate) fn cache_dir() -> PathBuf {
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
pub(crate) struct Counter {
    progress: Progress,
    shown: AtomicU64,
}

impl Counter {
    pub(crate) fn new(what: &str, bytes: u64) -> Self {
        let progress = Progress::new(what, (bytes >> 20) as usize, "MB");
        Self { progress, shown: AtomicU64::new(0) }
    }

    pub(crate) fn at(&self, bytes: u64) {
        let now = bytes >> 20;
        let before = self.shown.swap(now, Ordering::Relaxed);
        self.progress.advance(now.saturating_sub(before) as usize);
    }

    pub(crate) fn finish(&self) {
        self.progress.finish();
    }
}
