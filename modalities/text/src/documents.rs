//! The files of a text source, and the cache of what is made of them.

use crate::{data_error::StageDataError, recipe::TextSource};
use kiln_core::Seed;
use kiln_datasets::{DataError, Documents};
use kiln_host::write_atomic;
use kiln_synthetic::stories::{Stories, StoryDocument};
use kiln_train::progress::Progress;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Stories of a source that asks for no number of them.
const STORIES: u64 = 4000;

/// The files of a source; stories are generated into one first, once.
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
        write_atomic(&path, |out| {
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
