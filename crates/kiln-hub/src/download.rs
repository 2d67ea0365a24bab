//! Hub ids, downloaded into the hub's own cache so that other tools share the files.
//!
//! The environment is the one that other tools know: `HF_ENDPOINT` (a mirror), `HF_HOME` or
//! `HF_HUB_CACHE` (where the cache is), `HF_TOKEN` (for gated models), `HF_HUB_OFFLINE=1`.

use crate::{
    HubError, Result,
    json_file::CONFIG,
    weights::{Index, PYTORCH, SAFETENSORS, SAFETENSORS_INDEX},
};
use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress,
        sync::{ApiBuilder, ApiError, ApiRepo},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::{
    cell::Cell,
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Small files that are worth having beside config and weights.
const EXTRAS: [&str; 12] = [
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    MODULES,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// What sentence-transformers lists its modules in; each has a folder (`1_Pooling`).
const MODULES: &str = "modules.json";

/// Whether a file belongs to one of those: its settings, or weights of its own.
fn is_of_module(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, file)| {
        folder.split_once('_').is_some_and(|(number, _)| number.parse::<u8>().is_ok())
            && [CONFIG, SAFETENSORS, PYTORCH].contains(&file)
    })
}

/// `organisation/name`, at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `organisation/name`.
    pub repo: String,
    /// A branch, tag or commit.
    pub revision: String,
}

impl HubId {
    /// Reads `organisation/name` or `organisation/name@revision`.
    ///
    /// # Errors
    /// When it is not of that form, or has characters that the hub does not allow.
    pub fn parse(spec: &str) -> Result<Self> {
        let wrong = || HubError::Id { spec: spec.to_owned() };
        let (repo, revision) = spec.split_once('@').unwrap_or((spec, "main"));
        let (organisation, name) = repo.split_once('/').ok_or_else(wrong)?;
        let is_word = |word: &str| {
            word.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                && word.chars().all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one))
                && !word.contains("..")
        };
        if is_word(organisation) && is_word(name) && revision.split('/').all(is_word) {
            Ok(Self { repo: repo.to_owned(), revision: revision.to_owned() })
        } else {
            Err(wrong())
        }
    }

    /// As a user would write it.
    fn shown(&self) -> String {
        match self.revision.as_str() {
            "main" => self.repo.clone(),
            revision => format!("{}@{revision}", self.repo),
        }
    }

    fn as_repo(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone())
    }
}

/// Where models are downloaded from and to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: String,
    /// The cache's directory, `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// An access token for gated and private models.
    pub token: Option<String>,
    /// Never download.
    pub offline: bool,
}

impl Hub {
    /// The hub as the environment describes it.
    ///
    /// # Errors
    /// When there is no home directory and neither `HF_HOME` nor `HF_HUB_CACHE` says where the
    /// cache is.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = set("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cache").join("huggingface")));
        let cache = match (set("HF_HUB_CACHE"), home) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => home.join("hub"),
            (None, None) => {
                return Err(HubError::Io {
                    action: "find the hub's cache: set HF_HOME; looked for",
                    path: PathBuf::from("~/.cache/huggingface"),
                    source: ErrorKind::NotFound.into(),
                });
            }
        };
        let token = set("HF_TOKEN").map(|token| token.trim().to_owned());
        let offline = set("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
        });
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.or_else(|| Cache::new(cache.clone()).token()),
            cache,
            offline,
        })
    }

    /// The directory of a model in the cache, downloaded first where the cache does not have it.
    ///
    /// # Errors
    /// When it is not cached and offline, unknown to the hub, gated, or the download fails.
    pub fn fetch(&self, id: &HubId) -> Result<PathBuf> {
        if let Some(cached) = self.cached(id) {
            return Ok(cached);
        }
        if self.offline {
            return Err(HubError::Offline { id: id.shown(), cache: self.cache.clone() });
        }
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_user_agent("kiln", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| self.explain(id, "the model", error))?;
        let api = api.repo(id.as_repo());
        let listed = api.info().map_err(|error| self.explain(id, "the model", error))?;
        let has = |name: &str| listed.siblings.iter().any(|file| file.rfilename == name);
        tracing::info!("downloading {} into {}", id.shown(), self.cache.display());
        let config = self.file(&api, id, CONFIG)?;
        if has(SAFETENSORS) {
            self.file(&api, id, SAFETENSORS)?;
        } else if has(SAFETENSORS_INDEX) {
            let index = Index::read(&self.file(&api, id, SAFETENSORS_INDEX)?)?;
            for shard in index.shards() {
                self.file(&api, id, shard)?;
            }
        } else if has(PYTORCH) {
            self.file(&api, id, PYTORCH)?;
        } else {
            return Err(HubError::NotFound {
                id: id.shown(),
                endpoint: self.endpoint.clone(),
                what: format!("{SAFETENSORS}, {SAFETENSORS_INDEX} or {PYTORCH}"),
            });
        }
        for extra in EXTRAS.into_iter().filter(|extra| has(extra)) {
            self.file(&api, id, extra)?;
        }
        if has(MODULES) {
            let names = listed.siblings.iter().map(|file| file.rfilename.as_str());
            for name in names.filter(|name| is_of_module(name)) {
                self.file(&api, id, name)?;
            }
        }
        Ok(config.parent().map_or_else(|| config.clone(), Path::to_path_buf))
    }

    /// A complete copy in the cache.
    fn cached(&self, id: &HubId) -> Option<PathBuf> {
        let repo = self.cache.join(id.as_repo().folder_name());
        let named = fs::read_to_string(repo.join("refs").join(&id.revision)).ok();
        // A revision that is a commit hash needs no lookup.
        let commit = named.as_deref().map_or(id.revision.as_str(), str::trim);
        let snapshot = repo.join("snapshots").join(commit);
        is_complete(&snapshot).then_some(snapshot)
    }

    /// One file, from the cache or downloaded and checked.
    fn file(&self, api: &ApiRepo, id: &HubId, name: &str) -> Result<PathBuf> {
        if let Some(cached) = Cache::new(self.cache.clone()).repo(id.as_repo()).get(name) {
            return Ok(cached);
        }
        let size = Rc::new(Cell::new(0));
        let progress = Bar { bar: ProgressBar::new(0), size: Rc::clone(&size) };
        let path = api
            .download_with_progress(name, progress)
            .map_err(|error| self.explain(id, name, error))?;
        self.check(id, name, &path, size.get())?;
        Ok(path)
    }

    /// Compares a download with its announced size and, where the hub gives one, its digest.
    fn check(&self, id: &HubId, name: &str, path: &Path, size: u64) -> Result<()> {
        let blob = fs::canonicalize(path).map_err(HubError::io("read", path))?;
        let found = fs::metadata(&blob).map_err(HubError::io("read", path))?.len();
        let interrupted =
            |cause: String| HubError::Interrupted { id: id.shown(), file: name.to_owned(), cause };
        if found < size {
            // The partial file is kept: the next attempt resumes it.
            let _ = fs::rename(&blob, blob.with_extension("part"));
            let _ = fs::remove_file(path);
            return Err(interrupted(format!("{found} of {size} bytes arrived")));
        }
        // Large files are stored under their SHA-256.
        let expected = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_digest =
            expected.len() == 64 && expected.bytes().all(|byte| byte.is_ascii_hexdigit());
        let damaged = found > size || (is_digest && sha256(&blob)? != expected);
        if damaged {
            let _ = fs::remove_file(&blob);
            let _ = fs::remove_file(path);
            return Err(interrupted("what arrived is damaged and was deleted".to_owned()));
        }
        Ok(())
    }

    /// What a failed request means, and what to do about it.
    fn explain(&self, id: &HubId, file: &str, error: ApiError) -> HubError {
        let (shown, endpoint) = (id.shown(), self.endpoint.clone());
        let server = |cause: String| HubError::Server {
            id: shown.clone(),
            endpoint: endpoint.clone(),
            file: file.to_owned(),
            cause,
        };
        match error {
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(404) => {
                    HubError::NotFound { id: shown, endpoint, what: file.to_owned() }
                }
                ureq::Error::StatusCode(status @ (401 | 403)) => HubError::Gated {
                    id: shown,
                    repo: id.repo.clone(),
                    endpoint,
                    status,
                    had_token: self.token.is_some(),
                },
                ureq::Error::StatusCode(status) => server(format!("status {status}")),
                ureq::Error::Json(error) => server(error.to_string()),
                other => HubError::Unreachable { id: shown, endpoint, cause: other.to_string() },
            },
            ApiError::IoError(source) => match source.kind() {
                ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotADirectory
                | ErrorKind::AlreadyExists => {
                    HubError::Io { action: "write", path: self.cache.clone(), source }
                }
                _ => HubError::Interrupted {
                    id: shown,
                    file: file.to_owned(),
                    cause: source.to_string(),
                },
            },
            ApiError::TooManyRetries(error) => self.explain(id, file, *error),
            ApiError::LockAcquisition(path) => HubError::Io {
                action: "lock (another process is downloading the same file)",
                path,
                source: ErrorKind::WouldBlock.into(),
            },
            other => server(other.to_string()),
        }
    }
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).map_err(HubError::io("read", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read =
            std::io::Read::read(&mut file, &mut buffer).map_err(HubError::io("read", path))?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => digest.update(bytes),
            _ => break,
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A progress bar on a terminal, nothing elsewhere; remembers the size that was announced.
struct Bar {
    bar: ProgressBar,
    size: Rc<Cell<u64>>,
}

impl Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.size.set(size as u64);
        self.bar.set_length(size as u64);
        self.bar.set_position(0);
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
        ) {
            self.bar.set_style(style);
        }
        self.bar.set_message(filename.to_owned());
    }

    fn update(&mut self, size: usize) {
        self.bar.inc(size as u64);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Whether a directory has a configuration and all its weights.
fn is_complete(path: &Path) -> bool {
    let shards = || Index::read(&path.join(SAFETENSORS_INDEX));
    path.join(CONFIG).exists()
        && (path.join(SAFETENSORS).exists()
            || path.join(PYTORCH).exists()
            || shards().is_ok_and(|index| {
                index.shards().into_iter().all(|shard| path.join(shard).exists())
            }))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
