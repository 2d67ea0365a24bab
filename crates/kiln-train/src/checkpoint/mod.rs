//! Checkpoints: `checkpoints/step-<n>/`, `n` counting the steps of all stages.
//!
//! ```text
//! model/               a model directory, usable on its own
//! state.safetensors    weights, moving average and optimizer states, bit for bit
//! checkpoint.json      stage, step, what the trainer remembers, and a digest of every file
//! ```
//!
//! A checkpoint is written beside its place and renamed. On loading, digests, names and shapes are
//! compared; a damaged one is reported and the one before it is used.

mod manifest;
mod tensors;

pub use manifest::{Best, FileRecord, Manifest};

use crate::{
    Error, Result, files,
    learner::{Learner, LearnerState},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const MANIFEST: &str = "checkpoint.json";
const STATE: &str = "state.safetensors";
const MODEL: &str = "model";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
}

/// A checkpoint that was read and found whole.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What the trainer remembers.
    pub manifest: Manifest,
    /// What the learner remembers.
    pub state: LearnerState,
}

impl CheckpointStore {
    /// The store in `dir`, which is created when something is written.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the checkpoint of a step is, or would be.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step}"))
    }

    /// The steps that have a checkpoint, in rising order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.dir).map_err(files::io("read", &self.dir))?;
        let mut steps: Vec<u64> = entries
            .filter_map(|entry| {
                entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok()
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes a checkpoint; the manifest's files and tensors are filled in here.
    ///
    /// # Errors
    /// When it cannot be written; earlier checkpoints are untouched then.
    pub fn write(&self, mut manifest: Manifest, learner: &dyn Learner) -> Result<PathBuf> {
        let path = self.path(manifest.step);
        let state = learner.state()?;
        manifest.tensors =
            state.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
        files::create_dir(&self.dir)?;
        files::replace_dir(&path, |dir| {
            let model = dir.join(MODEL);
            files::create_dir(&model)?;
            learner.write_model(&model)?;
            tensors::write(&dir.join(STATE), &state)?;
            manifest.files = records(dir)?;
            files::write_json(&dir.join(MANIFEST), "a checkpoint", &manifest)
        })?;
        Ok(path)
    }

    /// Reads the checkpoint of a step and compares it with what was written.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged; the error names the file.
    pub fn read(&self, step: u64) -> Result<Checkpoint> {
        let dir = self.path(step);
        let path = dir.join(MANIFEST);
        let damaged = |path: PathBuf, problem: String| Error::Damaged { path, problem };
        let manifest: Manifest = files::read_json(&path)?;
        if manifest.format != manifest::FORMAT {
            let problem = format!(
                "it has format {}, this version reads {}",
                manifest.format,
                manifest::FORMAT
            );
            return Err(damaged(path, problem));
        }
        if manifest.step != step {
            return Err(damaged(path, format!("it says step {}", manifest.step)));
        }
        for (name, expected) in &manifest.files {
            let path = dir.join(name);
            let (bytes, sha256) = files::digest(&path)?;
            if bytes != expected.bytes {
                let problem = format!("{bytes} bytes long, {} were written", expected.bytes);
                return Err(damaged(path, problem));
            }
            if sha256 != expected.sha256 {
                return Err(damaged(path, "its SHA-256 differs from what was written".into()));
            }
        }
        if !manifest.files.contains_key(STATE) {
            return Err(damaged(path, format!("it does not list {STATE}")));
        }
        let path = dir.join(STATE);
        let state = tensors::read(&path)?;
        if let Some(problem) = difference(&manifest.tensors, &state) {
            return Err(damaged(path, problem));
        }
        Ok(Checkpoint { manifest, state })
    }

    /// The newest checkpoint that is whole; damaged ones are reported and passed over.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn newest(&self) -> Result<Option<Checkpoint>> {
        for step in self.steps()?.into_iter().rev() {
            match self.read(step) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::warn!("{}; using the checkpoint before it", error.with_cause());
                }
            }
        }
        Ok(None)
    }

    /// Keeps the newest `keep` checkpoints, at least one, and that of step `best`.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn tidy(&self, keep: usize, best: Option<u64>) -> Result<()> {
        let steps = self.steps()?;
        let old = steps.len().saturating_sub(keep.max(1));
        for step in steps.into_iter().take(old).filter(|step| Some(*step) != best) {
            files::remove(&self.path(step))?;
        }
        Ok(())
    }

    /// Removes what a killed run left half-written.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clean(&self) -> Result<()> {
        if !self.dir.is_dir() {
            return Ok(());
        }
        files::clean(&self.dir)
    }
}

/// Length and digest of every file below a checkpoint.
fn records(dir: &Path) -> Result<BTreeMap<String, FileRecord>> {
    files::list(dir)?
        .into_iter()
        .map(|file| {
            let (bytes, sha256) = files::digest(&dir.join(&file))?;
            let name = file.to_string_lossy().replace('\\', "/");
            Ok((name, FileRecord { bytes, sha256 }))
        })
        .collect()
}

/// How the tensors of a state differ from what the manifest lists.
fn difference(expected: &BTreeMap<String, Vec<usize>>, state: &LearnerState) -> Option<String> {
    for (name, shape) in expected {
        match state.get(name) {
            None => return Some(format!("tensor `{name}` is missing")),
            Some(tensor) if tensor.shape != *shape => {
                return Some(format!(
                    "tensor `{name}` has shape {:?}, expected {shape:?}",
                    tensor.shape
                ));
            }
            Some(_) => {}
        }
    }
    let extra = state.keys().find(|name| !expected.contains_key(*name));
    extra.map(|name| format!("tensor `{name}` was not written by this run"))
}

#[cfg(test)]
mod tests;
