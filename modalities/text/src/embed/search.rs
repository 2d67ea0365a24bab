//! Semantic search: exact nearest neighbours of a query among documents.
//!
//! An index keeps the vectors of documents in a Parquet file. Those of files that have the size and
//! time that they had are taken from it; another model or request embeds all again. A cross-encoder
//! may rerank the best.

use super::{EmbedError, Embedder, Passages, Prompt, Request, Reranker, Watch};
use kiln_core::{AutodiffBackend, Backend};
use kiln_datasets::{
    Documents,
    vectors::{Passage, VectorFormat, VectorWriter, Vectors, read_parquet},
};
use kiln_host::AtomicFile;
use kiln_hub::HubError;
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Device,
    task::TaskError,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Where the index keeps what it was made of.
const NOTE: &str = "kiln.index";

/// Characters of a text that are kept to show.
const SHOWN: usize = 300;

/// A search request.
#[derive(Clone, Debug)]
pub struct Search {
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Documents,
    /// The field that names a document, where there is one.
    pub id: Option<String>,
    /// The number of hits.
    pub top: usize,
    /// The path of the index.
    pub index: Option<PathBuf>,
    /// The embedding request.
    pub request: Request,
    /// The reranker of the best hits, if any.
    pub rerank: Option<Rerank>,
}

/// Reranking by a cross-encoder.
#[derive(Clone, Debug)]
pub struct Rerank {
    /// The directory of a cross-encoder.
    pub model: PathBuf,
    /// The number of hits that are reranked.
    pub among: usize,
}

/// A search hit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// Similarity to the query: cosine, or dot product where the model is trained for that; the
    /// score of the cross-encoder where it reranked.
    pub score: f32,
    /// Its file.
    pub source: String,
    /// Which document of it.
    pub id: String,
    /// Its beginning.
    pub text: String,
}

/// The result of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// Documents that were embedded.
    pub embedded: usize,
    /// Documents whose vectors the index had.
    pub kept: usize,
    /// Of those embedded, the truncated ones.
    pub truncated: usize,
}

/// Searches documents by a query.
///
/// # Errors
/// When model, documents or index cannot be read, or the index not be written.
pub fn search(
    model: &Path,
    device: Device,
    search: &Search,
    watch: &mut Watch<'_>,
) -> Result<Found, TaskError> {
    Ok(dispatch::on(device, Work { model, search, watch })??)
}

/// A search that waits for its backend.
struct Work<'a, 'w> {
    model: &'a Path,
    search: &'a Search,
    watch: &'a mut Watch<'w>,
}

impl OnBackend for Work<'_, '_> {
    type Output = Result<Found, EmbedError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        // A reranker that cannot rank fails before anything is embedded.
        let reranker = self.search.rerank.as_ref();
        let reranker = reranker
            .map(|rerank| Reranker::<B::InnerBackend>::load(&rerank.model, &device))
            .transpose()?;
        let embedder = Embedder::<B::InnerBackend>::load(self.model, &device)?;
        let mut found = run(&embedder, self.model, self.search, self.watch)?;
        if let Some(reranker) = reranker {
            let texts = whole(self.search, &found.hits)?;
            let order = reranker.order(&self.search.query, &texts, |_| {})?;
            let hits = order.into_iter().map(|(score, at)| Hit { score, ..found.hits[at].clone() });
            found.hits = hits.take(self.search.top).collect();
        }
        Ok(found)
    }
}

fn run<B: Backend>(
    embedder: &Embedder<B>,
    model: &Path,
    search: &Search,
    watch: &mut Watch<'_>,
) -> Result<Found, EmbedError> {
    let normalise = search.request.normalise || !embedder.compares_by_product();
    let request = |prompt: Prompt| Request { prompt, normalise, ..search.request.clone() };
    let ofs = request(Prompt::Document);
    let (query, _) =
        embedder.embed(&[&search.query], &request(Prompt::Query), &mut |_| watch(0))?;
    let manifest = Manifest::new(model, search, &ofs)?;
    let mut index = Index::open(search.index.as_deref(), &manifest)?;
    let kept = index.passages.len();
    let changed = !index.is_whole(&manifest);
    let mut found = Found { kept, ..Found::default() };
    if changed {
        let wanted = |path: &Path| !index.manifest.has(path, &manifest);
        let mut passages = Passages::new(search.documents.clone(), search.id.as_deref(), wanted)?;
        let (new, vectors) = (&mut index.passages, &mut index.vectors);
        let mut take = |passages: &[Passage], more: &Vectors| {
            let shown =
                |passage: &Passage| Passage { text: shown(&passage.text), ..passage.clone() };
            new.extend(passages.iter().map(shown));
            vectors.width = more.width;
            vectors.values.extend(&more.values);
            Ok(())
        };
        match embedder.stream(&ofs, &mut passages, &mut take, watch) {
            Ok(summary) => (found.embedded, found.truncated) = (summary.texts, summary.truncated),
            // The remaining files may be empty.
            Err(EmbedError::NoTexts) if kept > 0 => {}
            Err(error) => return Err(error),
        }
        if let Some(path) = &search.index {
            index.write(path, &manifest)?;
        }
    }
    let among = search.rerank.as_ref().map_or(0, |rerank| rerank.among);
    let best = best(&query.values, &index.vectors, search.top.max(among));
    found.hits = best
        .into_iter()
        .filter_map(|(score, at)| {
            let Passage { source, id, text } = index.passages.get(at)?.clone();
            Some(Hit { score, source, id, text })
        })
        .collect();
    Ok(found)
}

/// Top-k rows by dot product, the greatest first: products and rows.
pub fn best(query: &[f32], vectors: &Vectors, top: usize) -> Vec<(f32, usize)> {
    let rows = vectors.values.par_chunks_exact(vectors.width.max(1));
    let product = |row: &[f32]| row.iter().zip(query).map(|(x, y)| x * y).sum::<f32>();
    let mut scores: Vec<(f32, usize)> =
        rows.enumerate().map(|(at, row)| (product(row), at)).collect();
    let order = |one: &(f32, usize), other: &(f32, usize)| {
        other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
    };
    if top < scores.len() {
        scores.select_nth_unstable_by(top, order);
        scores.truncate(top);
    }
    scores.sort_unstable_by(order);
    scores
}

/// The texts of documents that were found, of which only the beginnings are kept.
fn whole(search: &Search, hits: &[Hit]) -> Result<Vec<String>, EmbedError> {
    let mut texts: Vec<String> = hits.iter().map(|hit| hit.text.clone()).collect();
    let wanted = |path: &Path| hits.iter().any(|hit| Path::new(&hit.source) == path);
    for passage in Passages::new(search.documents.clone(), search.id.as_deref(), wanted)? {
        let passage = passage?;
        let is = |hit: &Hit| hit.source == passage.source && hit.id == passage.id;
        if let Some(at) = hits.iter().position(is) {
            texts[at] = passage.text;
        }
    }
    Ok(texts)
}

/// The beginning of a text in one line.
fn shown(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.chars().count() > SHOWN {
            line = line.chars().take(SHOWN).collect();
            line.push('…');
            break;
        }
    }
    line
}

/// The manifest of an index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Manifest {
    /// A hash of the model's files and of how texts are embedded.
    key: String,
    /// Size and time of change, nanoseconds, of each file.
    files: BTreeMap<String, (u64, u64)>,
}

impl Manifest {
    fn new(model: &Path, search: &Search, request: &Request) -> Result<Self, EmbedError> {
        let mut hash = Sha256::new();
        // A directory of sentence-transformers may have been named by its transformer.
        for dir in [Some(model), model.parent().filter(|dir| dir.join("modules.json").exists())] {
            for (path, stamp) in dir.map(stamps).transpose()?.into_iter().flatten() {
                hash.update(format!("{path}\0{stamp:?}\0"));
            }
        }
        let spec = Documents { paths: Vec::new(), ..search.documents.clone() };
        hash.update(format!("{request:?}\0{spec:?}\0{:?}", search.id));
        let mut files = BTreeMap::new();
        for (path, _) in search.documents.files()? {
            files.insert(path.display().to_string(), stamp(&path)?);
        }
        let key = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key, files })
    }

    /// Whether a file is in it as it is now.
    fn has(&self, path: &Path, now: &Self) -> bool {
        let path = path.display().to_string();
        self.files.get(&path).is_some_and(|stamp| now.files.get(&path) == Some(stamp))
    }
}

/// The files of a directory and of those in it, with their stamps, sorted.
fn stamps(dir: &Path) -> Result<BTreeMap<String, (u64, u64)>, HubError> {
    let mut found = BTreeMap::new();
    let entries = |dir: &Path| {
        std::fs::read_dir(dir)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|source| HubError::Io { action: "read", path: dir.into(), source })
    };
    for entry in entries(dir)? {
        let path = entry.path();
        let inside = if path.is_dir() { entries(&path)? } else { Vec::new() };
        for path in inside.into_iter().map(|entry| entry.path()).chain([path]) {
            if path.is_file() {
                found.insert(path.display().to_string(), stamp(&path)?);
            }
        }
    }
    Ok(found)
}

fn stamp(path: &Path) -> Result<(u64, u64), HubError> {
    let failed = |source| HubError::Io { action: "read", path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let time = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), time.as_nanos() as u64))
}

/// Passages with their vectors, and what they are of.
#[derive(Clone, Debug, Default)]
struct Index {
    manifest: Manifest,
    passages: Vec<Passage>,
    vectors: Vectors,
}

impl Index {
    /// What of an index still holds; nothing where there is none, or for another model.
    fn open(path: Option<&Path>, now: &Manifest) -> Result<Self, EmbedError> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(Self::default()) };
        let stored = read_parquet(path)?;
        let note = stored.notes.iter().find(|(key, _)| key == NOTE);
        let manifest = note.and_then(|(_, value)| serde_json::from_str::<Manifest>(value).ok());
        let Some(mut manifest) = manifest else {
            // Never overwrite a file that is not an index.
            return Err(EmbedError::NoIndex { path: path.into() });
        };
        if manifest.key != now.key {
            return Ok(Self::default());
        }
        manifest.files.retain(|path, stamp| now.files.get(path) == Some(stamp));
        let mut index = Self { manifest, ..Self::default() };
        index.vectors.width = stored.vectors.width;
        for (passage, row) in stored.passages.into_iter().zip(stored.vectors.rows()) {
            if index.manifest.files.contains_key(&passage.source) {
                index.passages.push(passage);
                index.vectors.values.extend(row);
            }
        }
        Ok(index)
    }

    fn is_whole(&self, now: &Manifest) -> bool {
        self.manifest == *now
    }

    fn write(&self, path: &Path, manifest: &Manifest) -> Result<(), EmbedError> {
        let format = VectorFormat::Parquet { texts: true };
        let file = AtomicFile::create(path).map_err(HubError::from)?;
        let mut writer = VectorWriter::new(format, self.vectors.width, file, path)?;
        writer.write(&self.passages, &self.vectors)?;
        let note = serde_json::to_string(manifest)
            .map_err(|error| EmbedError::Device(error.to_string()))?;
        writer.finish(&[(NOTE.to_owned(), note)])?.commit().map_err(HubError::from)?;
        Ok(())
    }
}
