//! A run directory: who may write into it, and `run.json`.
//!
//! ```text
//! runs/<name>/recipe.toml            resolved, enough to repeat the run
//!             run.json               versions, device, seed, timings, peak memory, warnings
//!             metrics.jsonl          and TensorBoard event files beside it
//!             logbook.jsonl          what happened to it, a dated line an event
//!             checkpoints/step-<n>/  to resume from
//!             checkpoints/stage-<i>/ the final model of a stage that is not the last
//!             model/                 the final model directory
//!             results.json           every number beside its baselines
//!             report.html            all of it to look at
//! ```

use crate::{
    Error, Result,
    changes::{self, Change},
    diagnostics::Warning,
    files,
    logs::LOGBOOK,
    start::InitReport,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

/// What a run consists of; overwriting removes these and nothing else.
const PARTS: [&str; 8] = [
    "run.json",
    "recipe.toml",
    "metrics.jsonl",
    LOGBOOK,
    "checkpoints",
    "model",
    "results.json",
    "report.html",
];

/// What to do when the directory holds a run already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    #[default]
    Refuse,
    /// Go on with it; begin if there is none.
    Resume,
    /// Remove it and begin.
    Overwrite,
}

/// A run directory that this process holds.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The system frees the lock with the process, however it ends.
    _lock: File,
}

impl RunDir {
    /// Takes a directory for a run of `recipe`, the resolved text.
    ///
    /// # Errors
    /// When it cannot be written, is in use, or holds something that `existing` does not allow.
    pub fn open(path: &Path, recipe: &str, existing: Existing) -> Result<Self> {
        let is_run = path.join("recipe.toml").exists() || path.join("run.json").exists();
        if !is_run && has_strangers(path)? {
            return Err(Error::NotARun { dir: path.to_owned() });
        }
        if is_run && existing == Existing::Refuse {
            let finished = RunRecord::read(path).is_ok_and(|run| run.status == Status::Finished);
            return Err(Error::RunExists { dir: path.to_owned(), finished });
        }
        files::create_dir(path)?;
        let lock = lock(path)?;
        let dir = Self { path: path.to_owned(), _lock: lock };
        if existing == Existing::Overwrite {
            dir.clear()?;
        }
        files::clean(path)?;
        if !dir.recipe().exists() {
            dir.adopt(recipe)?;
        }
        Ok(dir)
    }

    fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// How a recipe, resolved, differs from the one that the run was started with.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn changes(&self, recipe: &str) -> Result<Vec<Change>> {
        let path = self.recipe();
        let was = fs::read_to_string(&path).map_err(files::io("read", &path))?;
        if was == recipe { Ok(Vec::new()) } else { changes::between(&path, &was, recipe) }
    }

    /// From here on this is the run's recipe.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn adopt(&self, recipe: &str) -> Result<()> {
        files::write(&self.recipe(), recipe.as_bytes())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where a stage's final model goes: `model/` for the last.
    pub fn model(&self, stage: usize, stages: usize) -> PathBuf {
        if stage + 1 == stages {
            self.path.join("model")
        } else {
            self.checkpoints().join(format!("stage-{stage}"))
        }
    }

    fn clear(&self) -> Result<()> {
        for part in PARTS {
            files::remove(&self.path.join(part))?;
        }
        for name in names(&self.path)?.iter().filter(|name| name.starts_with("events.out.tfevents"))
        {
            files::remove(&self.path.join(name))?;
        }
        Ok(())
    }
}

/// Whether a directory holds files that no run of ours leaves before its recipe.
fn has_strangers(path: &Path) -> Result<bool> {
    let ours = |name: &String| name == ".lock" || files::is_leftover(name);
    Ok(path.exists() && !names(path)?.iter().all(ours))
}

fn names(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).map_err(files::io("read", path))?;
    Ok(entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect())
}

fn lock(path: &Path) -> Result<File> {
    let file = path.join(".lock");
    let lock = File::create(&file).map_err(files::io("create", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(files::io("lock", &file)(source)),
    }
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's name.
    pub name: String,
    /// Its modality.
    pub modality: String,
    /// How far it came.
    pub status: Status,
    /// Versions of what computed it.
    pub versions: BTreeMap<String, String>,
    /// Where it was computed.
    pub device: String,
    /// The seed that every random number follows from.
    pub seed: u64,
    /// Threads of the processor.
    pub threads: usize,
    /// When it was begun, RFC 3339, UTC.
    pub started: String,
    /// When it ended; `None` while it runs.
    pub ended: Option<String>,
    /// How often it was resumed.
    pub resumed: u64,
    /// Seconds by part: `training`, `evaluation`.
    pub timings: BTreeMap<String, f64>,
    /// Seconds in all.
    pub seconds: f64,
    /// The most memory the process held, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Floating-point operations a token of each stage, as planned.
    #[serde(default)]
    pub flops_per_token: Vec<f64>,
    /// Stages that have begun.
    pub stages: Vec<StageRecord>,
    /// Training diagnostics that were out of order, with steps of the run.
    pub warnings: Vec<Warning>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It trains, or was killed.
    Running,
    /// It was stopped and can be resumed.
    Interrupted,
    /// It ended in an error.
    Failed,
    /// It came to its end.
    Finished,
}

/// A stage in `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Parameters that are trained.
    pub trainable: usize,
    /// Frozen parameters.
    pub frozen: usize,
    /// Steps done.
    pub steps: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Tokens that the model saw, none of them padding.
    #[serde(default)]
    pub tokens: u64,
    /// Floating-point operations for these tokens, forward and backward, an estimate.
    #[serde(default)]
    pub flops: f64,
    /// The loss that was logged last.
    pub loss: Option<f64>,
    /// The best validation, if there was one, and its step in the run.
    pub best: Option<crate::checkpoint::Best>,
    /// Whether patience ended it before its last step.
    pub stopped_early: bool,
    /// Steps that were skipped.
    pub bad_steps: u64,
    /// The last reading of each training diagnostic.
    pub diagnostics: BTreeMap<String, f64>,
    /// How starting weights met the model.
    pub init: Option<InitReport>,
}

impl RunRecord {
    /// Reads `run.json` of a run directory.
    ///
    /// # Errors
    /// When it cannot be read, or is no record of a run.
    pub fn read(dir: &Path) -> Result<Self> {
        files::read_json(&dir.join("run.json"))
    }

    /// Replaces `run.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        files::write_json(&dir.join("run.json"), "the record of a run", self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_enter() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/one");
        let first = RunDir::open(&path, "a = 1\nb = 2\n", Existing::Refuse).unwrap();
        let error = RunDir::open(&path, "a = 1\nb = 2\n", Existing::Resume).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        drop(first);
        let error = RunDir::open(&path, "a = 1\nb = 2\n", Existing::Refuse).unwrap_err();
        assert!(error.to_string().contains("resume it"), "{error}");
        let again = RunDir::open(&path, "a = 1\nb = 3\n", Existing::Resume).unwrap();
        assert!(again.changes("a = 1\nb = 2\n").unwrap().is_empty(), "its recipe stays");
        assert_eq!(again.changes("a = 1\nb = 3\n").unwrap()[0].key, "b");
        again.adopt("a = 1\nb = 3\n").unwrap();
        assert!(again.changes("a = 1\nb = 3\n").unwrap().is_empty());
        drop(again);
        fs::write(path.join("notes.txt"), "mine").unwrap();
        drop(RunDir::open(&path, "other = true\n", Existing::Overwrite).unwrap());
        assert_eq!(fs::read_to_string(path.join("recipe.toml")).unwrap(), "other = true\n");
        assert!(path.join("notes.txt").exists(), "what is not ours stays");
    }

    #[test]
    fn other_directories_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "").unwrap();
        for existing in [Existing::Refuse, Existing::Resume, Existing::Overwrite] {
            let error = RunDir::open(parent.path(), "", existing).unwrap_err();
            assert!(matches!(error, Error::NotARun { .. }), "{error}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("file"), "").unwrap();
        let path = parent.path().join("file/run");
        let error = RunDir::open(&path, "", Existing::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("cannot create") && error.ends_with("file/run"), "{error}");
    }
}
